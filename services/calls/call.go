package calls

import (
	"sync/atomic"
	"time"

	"github.com/beeline-rt/beeline/contracts"
)

// maxTries bounds how often a call is sent: each time but the last, nobody has carried it out, or it is idempotent.
const maxTries = 3

// call is one call on its way to its outcome. It is the broker.CallWaiter of each of its tries.
type call struct {
	// set once
	dispatcher *Dispatcher
	service    *service
	key        contracts.CallKey
	client     contracts.ClientID
	session    contracts.SessionID
	id         uint64
	task       []byte // ends with the data and a bracket
	data       int    // length of the data
	deadline   time.Time
	idempotent bool
	done       Done

	// owned by who has the call: whoever sends it, and then whoever hears of its end
	tries  int
	at     *instance
	sent   time.Time
	unsure bool        // some try may have carried it out
	waits  *time.Timer // for the table of keys

	ended atomic.Bool
}

// Problems that clients are told of.
var (
	errNoService = &contracts.Error{Code: contracts.CodeUnavailable, Message: "no instance of this service is known"}
	errBusy      = &contracts.Error{Code: contracts.CodeUnavailable, Message: "the service has as much to do as it takes"}
	errNotSent   = &contracts.Error{Code: contracts.CodeUnavailable, Message: "the call could not be handed to an instance of the service"}
	errLost      = &contracts.Error{Code: contracts.CodeUnavailable, Message: "the instance that had the call is gone: it may have been carried out", Unsure: true}
	errTimeout   = &contracts.Error{Code: contracts.CodeTimeout, Message: "the service did not answer in time: the call may have been carried out", Unsure: true}
	errLate      = &contracts.Error{Code: contracts.CodeTimeout, Message: "the call's turn did not come in time: it was not carried out"}
	errGarbage   = &contracts.Error{Code: contracts.CodeInternal, Message: "the service's answer is none", Unsure: true}
	errLarge     = &contracts.Error{Code: contracts.CodeTooLarge, Message: "the service's answer is too large", Unsure: true}
)

// Call carries out a call of a client, who is named by from: Client, Session and ID. It waits for nothing, and keeps no view of
// c.Data. done is called once, maybe before Call returns.
func (d *Dispatcher) Call(c contracts.Call, from contracts.Task, done Done) {
	s := (*d.services.Load())[c.Service]
	if s == nil {
		done(contracts.CallUnavailable, nil, errNoService)
		return
	}
	key := c.Key
	if key == "" {
		var err error
		if key, err = s.rule.of(from.Client, c.Data); err != nil {
			done(contracts.CallBadRequest, nil, &contracts.Error{Code: contracts.CodeBadRequest, Message: err.Error()})
			return
		}
	}
	if int(s.inFlight.Add(1)) > s.cfg.InFlight {
		s.inFlight.Add(-1)
		done(contracts.CallUnavailable, nil, errBusy)
		return
	}
	s.budget.called()
	timeout := c.Timeout
	if timeout == 0 {
		timeout = s.cfg.Timeout
	}
	from.Key, from.Timeout, from.Data = key, timeout, c.Data
	x := &call{
		dispatcher: d, service: s, key: key, client: from.Client, session: from.Session, id: from.ID, data: len(c.Data),
		task:     contracts.AppendTask(make([]byte, 0, contracts.TaskSize(from)), from),
		deadline: time.Now().Add(timeout), idempotent: c.Idempotent, done: done,
	}
	x.route(nil)
}

// route sends the call to where it belongs; but is an instance that it is not to be sent to if there is another.
func (x *call) route(but *instance) {
	if x.key != "" {
		if to, known := x.dispatcher.bindings.find(x); known {
			x.goTo(to)
		}
		return
	}
	x.goTo(x.service.choose(string(x.client), but))
}

// goTo sends the call to an instance; nil: none was found.
func (x *call) goTo(to *instance) {
	switch {
	case to == nil && len(*x.service.open.Load()) == 0:
		x.refused(errNoService)
		return
	case to == nil || !to.room():
		x.refused(errBusy)
		return
	case time.Now().After(x.deadline): // it has waited for the table of keys
		x.late()
		return
	}
	x.at, x.sent = to, time.Now()
	x.tries++
	to.sent.Add(1)
	if !to.fit.Load() { // since it was chosen. What is sent before that, who replaces it or finds it gone sees
		to.sent.Add(-1)
		x.again(errNotSent)
		return
	}
	if to.target != nil {
		x.post()
		return
	}
	x.dispatcher.bus().Call(to.at, x.task, x.deadline, x)
}

// refused ends a call that no instance took now.
func (x *call) refused(problem *contracts.Error) {
	if x.unsure {
		x.finish(contracts.CallLost, nil, errLost)
		return
	}
	x.finish(contracts.CallUnavailable, nil, problem)
}

// late ends a call whose time is over before this try of it was begun.
func (x *call) late() {
	if x.unsure {
		x.finish(contracts.CallTimeout, nil, errTimeout)
		return
	}
	x.finish(contracts.CallTimeout, nil, errLate)
}

// Ended takes what became of a try.
func (x *call) Ended(answer []byte, st contracts.Status) {
	i := x.at
	i.sent.Add(-1)
	switch st {
	case contracts.StatusDelivered:
		x.answered(answer)
	case contracts.StatusNobody: // proof that it was not carried out there
		x.dispatcher.dead(i, "nobody listens")
		x.again(errNotSent)
	case contracts.StatusUnsure:
		x.lost()
	case contracts.StatusTimeout:
		x.timedOut()
	default:
		x.refused(errNotSent)
	}
}

// answered takes an instance's answer, whatever it is.
func (x *call) answered(b []byte) {
	if len(b) > x.dispatcher.cfg.MaxAnswer {
		x.went(false)
		x.finish(contracts.CallGarbage, nil, errLarge)
		return
	}
	a, err := contracts.ReadAnswer(b)
	switch {
	case err != nil:
		x.went(false)
		x.finish(contracts.CallGarbage, nil, errGarbage)
	case a.Refused == contracts.RefusedLate:
		x.late()
	case a.Refused != "":
		x.turnedAway()
	case a.Error != nil:
		x.went(a.Error.Code != contracts.CodeInternal)
		x.finish(contracts.CallFailed, nil, a.Error)
	default:
		x.went(true)
		x.finish(contracts.CallAnswered, a.Data, nil)
	}
}

// turnedAway tries a call elsewhere that its instance did not take, unless it must be that one.
func (x *call) turnedAway() {
	if x.key == "" && x.service.budget.take() {
		x.again(errBusy)
		return
	}
	x.refused(errBusy)
}

// timedOut ends a call that the instance did not answer in time. That is its fault only if it had about as long as the service's operator gives
// it: else a client that leaves no time would have instances ejected.
func (x *call) timedOut() {
	if time.Since(x.sent) >= x.service.cfg.Timeout*9/10 {
		x.went(false)
	}
	x.finish(contracts.CallTimeout, nil, errTimeout)
}

// lost is told that the instance is gone that had the call: it may have been carried out.
func (x *call) lost() {
	x.unsure = true
	if x.idempotent && x.tries == 1 && x.service.budget.take() {
		x.again(errLost)
		return
	}
	x.finish(contracts.CallLost, nil, errLost)
}

// again tries once more.
func (x *call) again(problem *contracts.Error) {
	if x.tries >= maxTries || time.Now().After(x.deadline) {
		x.refused(problem)
		return
	}
	x.dispatcher.counters.retries.Add(1)
	x.route(x.at)
}

// went notes how the instance did.
func (x *call) went(well bool) {
	now := time.Now()
	if x.at.went(well, now.Sub(x.sent), now.UnixNano()) {
		x.dispatcher.counters.ejections.Add(1)
	}
}

// finish ends the call.
func (x *call) finish(o contracts.CallOutcome, data []byte, problem *contracts.Error) {
	if x.ended.Swap(true) {
		panic("calls: a call has ended twice")
	}
	x.service.inFlight.Add(-1)
	x.done(o, data, problem)
}
