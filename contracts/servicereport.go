package contracts

import (
	"encoding/json"
	"errors"
	"time"
)

// Report is what an instance of a service says of itself, at least once in each Life: it is also how instances are found.
type Report struct {
	Service  ServiceName
	Instance InstanceID
	Epoch    Epoch // of this start of the instance, at most [MaxRequestID]: of two that report under one id, the one with the higher gets the calls

	InFlight int // calls that it has, those that wait in it too
	Capacity int // of these, how many it works on at a time; 1 to [MaxCapacity]
	Waiting  int // how many more may wait in it
	Weight   int // 1 to [MaxWeight]
	Latency  time.Duration
	Draining bool          // it gets no new keys
	Ended    bool          // it takes nothing more, and answers what it has
	Life     time.Duration // how long the report stands without a next one; from [MinReportLife] to [MaxReportLife]
}

// The bounds of a report.
const (
	MaxReport         = 1024 // bytes
	MaxCapacity       = 1 << 20
	MinReportLife     = 100 * time.Millisecond
	MaxReportLife     = time.Minute
	DefaultReportLife = 900 * time.Millisecond
)

// ErrInvalidReport is wrapped by every error about a report.
var ErrInvalidReport = errors.New("invalid report of a service instance")

// reportForm is a report as it stands in a NATS message.
type reportForm struct {
	Service   ServiceName `json:"service"`
	Instance  InstanceID  `json:"instance"`
	Epoch     uint64      `json:"epoch"` // at most 2^53-1
	InFlight  int         `json:"in_flight"`
	Capacity  int         `json:"capacity"`
	Waiting   int         `json:"waiting,omitempty"`
	Weight    int         `json:"weight,omitempty"`
	LatencyUS int64       `json:"latency_us,omitempty"`
	LifeMS    int64       `json:"life_ms,omitempty"`
	Draining  bool        `json:"draining,omitempty"`
	Ended     bool        `json:"ended,omitempty"`
}

// AppendReport appends a report to dst.
func AppendReport(dst []byte, r Report) []byte {
	b := appendJSON(dst, reportForm{
		Service: r.Service, Instance: r.Instance, Epoch: uint64(r.Epoch), InFlight: r.InFlight, Capacity: r.Capacity, Waiting: r.Waiting,
		Weight: r.Weight, LatencyUS: r.Latency.Microseconds(), LifeMS: r.Life.Milliseconds(), Draining: r.Draining, Ended: r.Ended,
	})
	return b[:len(b)-1]
}

// ReadReport reads a report. What may be left out has its default: weight 1, a life of [DefaultReportLife].
func ReadReport(b []byte) (Report, error) {
	var f reportForm
	if len(b) > MaxReport || json.Unmarshal(b, &f) != nil {
		return Report{}, ErrInvalidReport
	}
	if f.Weight == 0 {
		f.Weight = 1
	}
	if f.LifeMS == 0 {
		f.LifeMS = DefaultReportLife.Milliseconds()
	}
	_, err1 := ParseServiceName(f.Service)
	_, err2 := ParseInstanceID(f.Instance)
	if err := errors.Join(err1, err2); err != nil {
		return Report{}, errors.Join(ErrInvalidReport, err)
	}
	const most = 1 << 40
	if f.Epoch > MaxRequestID || f.InFlight < 0 || f.Capacity < 1 || f.Capacity > MaxCapacity || f.Waiting < 0 || f.Waiting > MaxCapacity || f.Weight < 1 ||
		f.Weight > MaxWeight || f.LatencyUS < 0 || f.LatencyUS > most || f.LifeMS < MinReportLife.Milliseconds() || f.LifeMS > MaxReportLife.Milliseconds() {
		return Report{}, ErrInvalidReport
	}
	return Report{
		Service: f.Service, Instance: f.Instance, Epoch: Epoch(f.Epoch), InFlight: f.InFlight, Capacity: f.Capacity, Waiting: f.Waiting, Weight: f.Weight,
		Latency: time.Duration(f.LatencyUS) * time.Microsecond, Life: time.Duration(f.LifeMS) * time.Millisecond,
		Draining: f.Draining, Ended: f.Ended,
	}, nil
}
