package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/beeline-rt/beeline/tools/bench"
)

// savePlot draws the latency of the last round.
func savePlot(path string, r *bench.Report) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	if err := errors.Join(r.WritePlot(f), f.Close()); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	return nil
}

// saveProfiles takes a CPU profile of each edge at the same time, and writes them to dir as <name>.pprof.
func saveProfiles(ctx context.Context, dir string, admins map[string]string, d time.Duration) error {
	if len(admins) == 0 {
		return usagef("--profile: there is no --admin address to get a profile from")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("--profile: %w", err)
	}
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for name, admin := range admins {
		all.Go(func() {
			if err := saveProfile(ctx, filepath.Join(dir, name+".pprof"), admin, d); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("profile %s: %w", name, err))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func saveProfile(ctx context.Context, path, admin string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	address := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", admin, max(1, int(d.Seconds())))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: is the edge run with --profiles?", response.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, response.Body)
	return errors.Join(err, f.Close())
}
