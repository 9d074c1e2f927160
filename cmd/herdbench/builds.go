package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"herd/cmd/herdbench/rivals"
)

// BuildResults compares two builds of herd, figure by figure.
type BuildResults struct {
	Rounds  int            `json:"rounds"`
	Figures []*BuildFigure `json:"figures"`
}

// BuildFigure is one figure of both builds. Old and New have as many values: those at
// one index were measured one right after the other.
type BuildFigure struct {
	Name  string    `json:"name"`
	Old   []float64 `json:"old"`
	New   []float64 `json:"new"`
	Ratio float64   `json:"ratio"` // median of new/old
	Least float64   `json:"least"` // of these ratios
	Most  float64   `json:"most"`

	decimals int
}

// reading is one value of a figure.
type reading struct {
	figure   string
	value    float64
	decimals int
}

// trial measures one of --figures, on a running herd.
type trial struct {
	name    string
	measure func(*bench, context.Context, *rivals.Herd) ([]reading, error)
}

// stage is trials that share a herd of either build, started anew in each round.
type stage struct {
	pairs  int // how often each trial is run on both herds
	trials []trial
}

var stages = []stage{
	{2, []trial{{"p64", (*bench).measureP64}, {"p1", (*bench).measureP1}, {"alone", (*bench).measureAlone}}},
	{1, []trial{{"idle", (*bench).measureIdle}}},
	{1, []trial{{"large", (*bench).measureLarge}}},
	{1, []trial{{"record", (*bench).measureRecord}}},
	{1, []trial{{"restart", (*bench).measureRestart}}},
}

// build is a build to compare, with its environment.
type build struct {
	lab *rivals.Lab
	env []string
}

func (b *bench) newBuild(program string, env []string) (build, error) {
	lab := *b.lab
	if program != "" {
		var err error
		if lab.Herd, err = filepath.Abs(program); err != nil {
			return build{}, err
		}
	}
	return build{&lab, env}, nil
}

// compareBuilds measures the old build and the new one in turns. Both herds of a stage
// run at the same time, and one of them has work: what else the machine does then
// affects either alike.
func (b *bench) compareBuilds(ctx context.Context) (*BuildResults, error) {
	older, err := b.newBuild(b.Old, b.OldEnv)
	if err != nil {
		return nil, err
	}
	newer, err := b.newBuild(b.New, b.NewEnv)
	if err != nil {
		return nil, err
	}
	r := &BuildResults{}
	for ; r.Rounds < b.Rounds && err == nil; r.Rounds++ {
		for _, stage := range stages {
			stage.trials = slices.DeleteFunc(slices.Clone(stage.trials), func(t trial) bool { return !slices.Contains(b.Figures, t.name) })
			if len(stage.trials) == 0 {
				continue
			}
			if err = b.runStage(ctx, r, stage, [2]build{older, newer}); err != nil {
				break
			}
		}
	}
	fmt.Fprint(b.out, "\n", r.finish())
	return r, err
}

// runStage starts both herds and runs the trials on one after the other. Which is
// first changes from pair to pair and from round to round.
func (b *bench) runStage(ctx context.Context, r *BuildResults, s stage, builds [2]build) error {
	var herds [2]*rivals.Herd
	var errs [2]error
	var starts sync.WaitGroup
	for i, build := range builds {
		starts.Go(func() {
			herds[i], errs[i] = rivals.Serve("herd", b.Journal).With(build.env...).StartHerd(ctx, build.lab)
		})
	}
	starts.Wait()
	for i, herd := range herds {
		if errs[i] == nil {
			defer herd.Stop()
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	for _, herd := range herds {
		warm := rivals.Workload{Connections: 8, Pipeline: 64, Clients: b.Clients, Duration: b.Duration / 4, Count: b.Count}
		if _, err := herd.Run(ctx, warm); err != nil {
			return fmt.Errorf("warming up: %w", err)
		}
	}
	for _, t := range s.trials {
		b.say("round %d of %d: %s", r.Rounds+1, b.Rounds, t.name)
		for pair := range s.pairs {
			for turn := range herds {
				side := (turn + pair + r.Rounds) % len(herds)
				readings, err := t.measure(b, ctx, herds[side])
				if err != nil {
					return fmt.Errorf("%s of %s: %w", t.name, builds[side].lab.Herd, err)
				}
				for _, reading := range readings {
					r.add(side, reading)
				}
			}
		}
	}
	return nil
}

func (r *BuildResults) add(side int, read reading) {
	i := slices.IndexFunc(r.Figures, func(f *BuildFigure) bool { return f.Name == read.figure })
	if i < 0 {
		i = len(r.Figures)
		r.Figures = append(r.Figures, &BuildFigure{Name: read.figure, decimals: read.decimals})
	}
	values := []*[]float64{&r.Figures[i].Old, &r.Figures[i].New}[side]
	*values = append(*values, read.value)
}

// finish computes the ratios and returns the table.
func (r *BuildResults) finish() string {
	t := table{head: []string{"", "old", "new", "new/old", "least", "most"}}
	for _, f := range r.Figures {
		if all := ratios(f.New, f.Old); len(all) > 0 {
			f.Ratio, f.Least, f.Most = median(all), slices.Min(all), slices.Max(all)
		}
		t.rows = append(t.rows, []string{f.Name, number(median(f.Old), f.decimals), number(median(f.New), f.decimals),
			number(f.Ratio, 3), number(f.Least, 3), number(f.Most, 3)})
	}
	return fmt.Sprintf("Medians of %s; new/old is the median of the ratios, each of two values measured in turn. CPU: user and system time of servers and broker.\n\n%s", rounds(r.Rounds), t)
}

// measureWorkload runs a workload.
func (b *bench) measureWorkload(ctx context.Context, herd *rivals.Herd, name string, w rivals.Workload) (out rivals.Outcome, _ []reading, err error) {
	w.Clients = max(w.Clients, b.Clients)
	w.Duration, w.Count = b.Duration, b.Count
	if out, err = herd.Run(ctx, w); err != nil {
		return out, nil, fmt.Errorf("%s: %w", name, err)
	}
	if out.Lost+out.Differing > 0 {
		return out, nil, fmt.Errorf("%s: %d records lost, %d differing", name, out.Lost, out.Differing)
	}
	return out, []reading{
		{name + ", replicated/s", out.Replicated, 0},
		{name + ", CPU µs per update", out.CPUPerUpdate(), 2},
	}, nil
}

// measureOneAndAll measures a workload with one server written to, and with all five.
func (b *bench) measureOneAndAll(ctx context.Context, herd *rivals.Herd, name string, w rivals.Workload) ([]reading, error) {
	_, one, err := b.measureWorkload(ctx, herd, name, w)
	if err != nil {
		return nil, err
	}
	w.All = true
	_, all, err := b.measureWorkload(ctx, herd, name+" all five", w)
	return append(one, all...), err
}

func (b *bench) measureP64(ctx context.Context, herd *rivals.Herd) ([]reading, error) {
	return b.measureOneAndAll(ctx, herd, "P64", rivals.Workload{Connections: 8, Pipeline: 64})
}

func (b *bench) measureP1(ctx context.Context, herd *rivals.Herd) ([]reading, error) {
	return b.measureOneAndAll(ctx, herd, "P1", rivals.Workload{Connections: 8, Pipeline: 1})
}

func (b *bench) measureAlone(ctx context.Context, herd *rivals.Herd) ([]reading, error) {
	out, readings, err := b.measureWorkload(ctx, herd, "alone", rivals.Workload{Connections: 1, Pipeline: 1})
	if err != nil {
		return nil, err
	}
	return append(readings[1:], // p50 says what the rate would
		reading{"alone, p50 µs", float64(out.Latencies.Quantile(.5)) / 1e3, 0},
		reading{"alone, p99 µs", float64(out.Latencies.Quantile(.99)) / 1e3, 0}), nil
}

// measureLarge measures P64 where the map holds all clients already, twice --records.
func (b *bench) measureLarge(ctx context.Context, herd *rivals.Herd) ([]reading, error) {
	w := rivals.Workload{Connections: 8, Pipeline: 64, Clients: 2 * b.Records}
	fill := w
	fill.Duration, fill.Count = time.Hour, w.Clients
	if _, err := herd.Run(ctx, fill); err != nil {
		return nil, fmt.Errorf("filling: %w", err)
	}
	_, readings, err := b.measureWorkload(ctx, herd, "large map", w)
	if err != nil {
		return nil, err
	}
	resident := 0.0
	for i := range herd.Ops {
		bytes, err := herd.Server(i).Resident()
		if err != nil {
			return nil, err
		}
		resident += float64(bytes) / float64(len(herd.Ops)) / 1e6
	}
	return append(readings, reading{"large map, resident MB per server", resident, 0}), nil
}

func (b *bench) measureRecord(ctx context.Context, herd *rivals.Herd) ([]reading, error) {
	before, err := memoryOf(ctx, herd)
	if err != nil {
		return nil, err
	}
	if err := b.fill(ctx, herd); err != nil {
		return nil, err
	}
	after, err := memoryOf(ctx, herd)
	if err != nil {
		return nil, err
	}
	each := 0.0
	for i := range after {
		each += float64(after[i].heap-before[i].heap) / float64(b.Records) / float64(len(after))
	}
	return []reading{{"heap bytes per record", each, 0}}, nil
}

func (b *bench) measureIdle(ctx context.Context, herd *rivals.Herd) ([]reading, error) {
	before, err := memoryOf(ctx, herd)
	if err != nil {
		return nil, err
	}
	closeAll, err := connectIdle(ctx, herd.Addresses()[0], b.Idle)
	defer closeAll()
	if err != nil {
		return nil, err
	}
	after, err := memoryOf(ctx, herd)
	if err != nil {
		return nil, err
	}
	gained := after[0].heap + after[0].stack - before[0].heap - before[0].stack
	return []reading{{"heap and stack bytes per idle connection", float64(gained) / float64(b.Idle), 0}}, nil
}

func (b *bench) measureRestart(ctx context.Context, herd *rivals.Herd) ([]reading, error) {
	if err := b.fill(ctx, herd); err != nil {
		return nil, err
	}
	_, ready, err := restartServer(ctx, herd, restarted(b.lab))
	return []reading{{"seconds to restart with " + strconv.Itoa(b.Records) + " records", ready.Seconds(), 2}}, err
}
