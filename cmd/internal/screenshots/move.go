package main

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"time"
)

// cities are where clients are, by latitude and longitude.
var cities = [][2]float64{
	{34.05, -118.24}, {37.77, -122.42}, {41.88, -87.63}, {40.71, -74.01}, {19.43, -99.13}, {4.71, -74.07}, {-23.55, -46.63}, {-34.6, -58.38},
	{51.51, -0.13}, {48.86, 2.35}, {52.52, 13.4}, {41.9, 12.5}, {40.42, -3.7}, {59.33, 18.07}, {55.76, 37.62}, {41.01, 28.98}, {30.04, 31.24},
	{6.52, 3.38}, {-1.29, 36.82}, {-26.2, 28.05}, {24.71, 46.68}, {28.61, 77.21}, {19.08, 72.88}, {13.76, 100.5}, {1.35, 103.82}, {-6.2, 106.85},
	{31.23, 121.47}, {39.9, 116.4}, {37.57, 126.98}, {35.68, 139.69}, {-33.87, 151.21}, {-36.85, 174.76},
}

const (
	clients  = 1400
	interval = 250 * time.Millisecond // between reports, so that floods are seen one by one
)

// move reports for clients around cities, to all servers in turn, until ctx ends. Errors end it: then the
// picture does not get ready.
func move(ctx context.Context, addresses []string) {
	random := rand.New(rand.NewPCG(1, 2)) // the same picture each time
	type client struct{ lat, lon, heading float64 }
	all := make([]client, clients)
	for i := range all {
		city := cities[random.IntN(len(cities))]
		all[i] = client{city[0] + 2.2*random.NormFloat64(), city[1] + 3*random.NormFloat64(), 2 * math.Pi * random.Float64()}
	}
	conns := make([]net.Conn, len(addresses))
	for i, address := range addresses {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer conn.Close()
		conns[i] = conn
		go func() { // replies are of no interest
			for r := bufio.NewReader(conn); ; {
				if _, err := r.ReadSlice('\n'); err != nil {
					return
				}
			}
		}()
	}
	for n := 0; ctx.Err() == nil; n++ {
		i := n % clients
		if n >= clients {
			i = random.IntN(clients)
		}
		c := &all[i]
		c.heading += 0.4 * random.NormFloat64()
		c.lat = math.Max(-80, math.Min(80, c.lat+0.3*math.Sin(c.heading)))
		c.lon = math.Mod(c.lon+540+0.3*math.Cos(c.heading), 360) - 180
		if _, err := fmt.Fprintf(conns[n%len(conns)], "IAMAT bike-%d %+.6f%+.6f %.3f\n", i, c.lat, c.lon, float64(time.Now().UnixMilli())/1000); err != nil {
			return
		}
		if n >= clients {
			select {
			case <-time.After(interval):
			case <-ctx.Done():
			}
		}
	}
}
