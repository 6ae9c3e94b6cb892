package usage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Admin is a process that tells of itself at the /metrics of this address, as an edge does: http://127.0.0.1:9081.
type Admin string

var _ Source = Admin("")

// Sample asks for the metrics, which is work that the process is charged with too.
func (a Admin) Sample(ctx context.Context) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(string(a), "/")+"/metrics", nil)
	if err != nil {
		return Sample{}, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return Sample{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Sample{}, fmt.Errorf("%s/metrics answers with %s", string(a), response.Status)
	}
	var cpu, rss float64
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch name {
		case "process_cpu_seconds_total":
			cpu, err = strconv.ParseFloat(value, 64)
		case "process_resident_memory_bytes":
			rss, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return Sample{}, fmt.Errorf("read %s/metrics: %w", string(a), err)
		}
	}
	if rss == 0 {
		return Sample{}, errors.New(string(a) + "/metrics does not tell of the process")
	}
	return Sample{CPU: time.Duration(cpu * float64(time.Second)), RSS: int64(rss)}, nil
}
