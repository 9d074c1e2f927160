package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
)

const (
	costRate    = 5000 // updates a second
	costSeconds = 12   // of each load
	costRounds  = 5    // each with all numbers of pages
)

// cost measures the processor time of `herd up` for an update, with no page, one and five: what it
// serves to them is in it. The pages are readers without a browser, which would take the processors.
func (m measurement) cost() error {
	pages := []int{0, 1, 5}
	ratios := map[int][]float64{}
	for range costRounds {
		var without float64
		for _, n := range pages {
			perUpdate, err := m.costOf(n)
			if err != nil {
				return err
			}
			if n == 0 {
				without = perUpdate
			}
			ratios[n] = append(ratios[n], perUpdate/without)
		}
	}
	fmt.Fprintf(m.out, "\nprocessor time of herd up for an update, %d clients, %d updates/s, median of %d rounds\n", clients, costRate, costRounds)
	for _, n := range pages[1:] {
		slices.Sort(ratios[n])
		fmt.Fprintf(m.out, "  with %d open          %.2f times that without a page (%.2f to %.2f)\n", n, ratios[n][costRounds/2], ratios[n][0], ratios[n][costRounds-1])
	}
	return nil
}

// costOf is the processor time in seconds that the herd takes for an update while n pages are open.
func (m measurement) costOf(n int) (float64, error) {
	ctx, closePages := context.WithCancel(m.ctx)
	defer closePages()
	for range n {
		for _, path := range []string{"api/live", "api/clients?interval=250"} {
			if err := read(ctx, m.herd.Page+path); err != nil {
				return 0, err
			}
		}
	}
	load := m.load("--rate", strconv.Itoa(costRate), "--duration", fmt.Sprint(costSeconds, "s"), "--count", strconv.Itoa(costRate*costSeconds))
	groups := m.groups(load)
	before := cpuOf(map[string]func(int, string) bool{"herd": groups["herd"]})
	out, err := load.Output()
	if err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	after := cpuOf(map[string]func(int, string) bool{"herd": groups["herd"]})
	var report struct{ Replies float64 }
	if err := json.Unmarshal(out, &report); err != nil || report.Replies == 0 {
		return 0, fmt.Errorf("load: no replies (%v)", err)
	}
	return (after["herd"] - before["herd"]) / report.Replies, nil
}

// read reads what a page reads, until ctx ends. It returns when that has begun.
func read(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	go func() {
		defer response.Body.Close()
		io.Copy(io.Discard, response.Body)
	}()
	return nil
}
