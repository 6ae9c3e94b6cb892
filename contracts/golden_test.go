package contracts

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
	"time"
)

// The golden files are described in testdata/README.md. Other implementations are held to the same ones.

var update = flag.Bool("update", false, "rewrite what the golden files expect")

// readCases reads a JSON-lines file of testdata.
func readCases[T any](tb testing.TB, file string) []T {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		tb.Fatal(err)
	}
	var cases []T
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.DisallowUnknownFields() // a misspelled member would go untested
		var c T
		if err := d.Decode(&c); err != nil {
			tb.Fatalf("%s: %v in %s", file, err, lines.Bytes())
		}
		cases = append(cases, c)
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	if len(cases) == 0 {
		tb.Fatalf("%s has no cases", file)
	}
	return cases
}

// golden compares what each case of a file expects with what the code makes of it; with -update, it writes that down.
func golden[T any](t *testing.T, file string, name func(T) string, remake func(testing.TB, T) T) {
	t.Helper()
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	seen := map[string]bool{}
	for _, want := range readCases[T](t, file) {
		if seen[name(want)] {
			t.Errorf("%s: the name %q is there twice", file, name(want))
		}
		seen[name(want)] = true
		got := remake(t, want)
		if !*update && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s:\n got %s\nwant %s", file, name(want), mustJSON(t, got), mustJSON(t, want))
		}
		if err := e.Encode(got); err != nil {
			t.Fatal(err)
		}
	}
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", file), out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func mustJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func mustHex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// requestCase is one line of requests.jsonl.
type requestCase struct {
	Name    string       `json:"name"`
	Encode  *requestForm `json:"encode,omitempty"` // what an encoder gets; Line is what it makes of that
	Line    string       `json:"line"`
	Request *requestForm `json:"request,omitempty"` // what a decoder makes of Line
	Error   *errorForm   `json:"error,omitempty"`
}

type requestForm struct {
	Op     string  `json:"op"`
	ID     *uint64 `json:"id,omitempty"`
	Token  string  `json:"token,omitempty"`
	Client string  `json:"client,omitempty"`
	Device string  `json:"device,omitempty"`
	To     string  `json:"to,omitempty"`
	Group  string  `json:"group,omitempty"`
	Data   string  `json:"data,omitempty"` // the value's text

	Clients []ClientID `json:"clients,omitempty"`
	After   ClientID   `json:"after,omitempty"`

	Service    string `json:"service,omitempty"`
	Key        string `json:"key,omitempty"`
	TimeoutMS  int64  `json:"timeout_ms,omitempty"`
	Idempotent bool   `json:"idempotent,omitempty"`

	Limit int `json:"limit,omitempty"`
}

type errorForm struct {
	ID      *uint64 `json:"id,omitempty"` // the request's, where it could be read
	Code    Code    `json:"code"`
	Message string  `json:"message"`
}

var opNames = map[Op]string{
	OpAuth: "auth", OpSend: "send", OpPing: "ping", OpJoin: "join", OpLeave: "leave", OpPublish: "publish",
	OpWatch: "watch", OpUnwatch: "unwatch", OpMembers: "members", OpCall: "call", OpPong: "pong",
}

func formOf(r Request) *requestForm {
	if r.Op == OpMembers {
		q := r.Members
		return &requestForm{Op: "members", ID: idOf(r), Group: string(q.Group), After: q.After, Limit: q.Limit}
	}
	if r.Op == OpCall {
		c := r.Call
		return &requestForm{
			Op: "call", ID: idOf(r), Service: string(c.Service), Key: string(c.Key), Data: string(c.Data), TimeoutMS: c.Timeout.Milliseconds(),
			Idempotent: c.Idempotent,
		}
	}
	return &requestForm{
		Op: opNames[r.Op], ID: idOf(r), Token: r.Auth.Token, Client: string(r.Auth.Client), Device: r.Auth.Device,
		To: string(r.Send.To), Group: string(r.Group), Data: string(r.Send.Data), Clients: r.Clients,
	}
}

func idOf(r Request) *uint64 {
	if !r.HasID {
		return nil
	}
	return &r.ID
}

func encodeRequest(tb testing.TB, f *requestForm) []byte {
	tb.Helper()
	switch f.Op {
	case "auth":
		return AppendAuth(nil, Auth{Token: f.Token, Client: ClientID(f.Client), Device: f.Device})
	case "send":
		return AppendSend(nil, *f.ID, ClientID(f.To), []byte(f.Data))
	case "call":
		return AppendCall(nil, *f.ID, Call{
			Service: ServiceName(f.Service), Key: CallKey(f.Key), Data: []byte(f.Data), Timeout: time.Duration(f.TimeoutMS) * time.Millisecond,
			Idempotent: f.Idempotent,
		})
	case "join":
		return AppendGroup(nil, *f.ID, OpJoin, GroupName(f.Group))
	case "leave":
		return AppendGroup(nil, *f.ID, OpLeave, GroupName(f.Group))
	case "publish":
		return AppendPublish(nil, *f.ID, GroupName(f.Group), []byte(f.Data))
	case "watch":
		return AppendWatch(nil, *f.ID, OpWatch, f.Clients)
	case "unwatch":
		return AppendWatch(nil, *f.ID, OpUnwatch, f.Clients)
	case "members":
		return AppendMembers(nil, *f.ID, MembersQuery{GroupName(f.Group), f.After, f.Limit})
	case "ping":
		return AppendPing(nil)
	case "pong":
		return AppendPong(nil, Request{})
	}
	tb.Fatalf("no encoder for %q", f.Op)
	return nil
}

func TestGoldenRequests(t *testing.T) {
	golden(t, "requests.jsonl", func(c requestCase) string { return c.Name }, func(tb testing.TB, c requestCase) requestCase {
		tb.Helper()
		if c.Encode != nil {
			line, found := bytes.CutSuffix(encodeRequest(tb, c.Encode), []byte("\n"))
			if !found {
				tb.Errorf("%s: an encoder ends its object with a line break", c.Name)
			}
			c.Line = string(line)
		}
		r, err := DecodeRequest([]byte(c.Line))
		c.Request, c.Error = nil, nil
		if err != nil {
			c.Error = &errorForm{ID: idOf(r), Code: err.Code, Message: err.Message}
		} else {
			c.Request = formOf(r)
		}
		if c.Encode != nil && !reflect.DeepEqual(c.Encode, c.Request) {
			tb.Errorf("%s: encoded and decoded again it is %s", c.Name, mustJSON(tb, c.Request))
		}
		return c
	})
}

// eventCase is one line of events.jsonl.
type eventCase struct {
	Name   string     `json:"name"`
	Encode *eventForm `json:"encode,omitempty"`
	Line   string     `json:"line"`
	Event  *eventForm `json:"event,omitempty"`
	Error  bool       `json:"error,omitempty"`
}

// eventForm is an [Event] with the text of its data.
type eventForm struct {
	ID     *uint64   `json:"id,omitempty"`
	Ready  *Ready    `json:"ready,omitempty"`
	Msg    *msgForm  `json:"msg,omitempty"`
	OK     *okForm   `json:"ok,omitempty"`
	Error  *Error    `json:"error,omitempty"`
	Pong   *struct{} `json:"pong,omitempty"`
	Moving *Moving   `json:"moving,omitempty"`

	Presence *Presence `json:"presence,omitempty"`

	Ping  *struct{} `json:"ping,omitempty"`
	Close *Close    `json:"close,omitempty"`
}

// okForm is an [OK] that tells no list from an empty one.
type okForm struct {
	Status Outcome     `json:"status,omitempty"`
	Nodes  int         `json:"nodes,omitempty"`
	Online *[]ClientID `json:"online,omitempty"`
	Data   string      `json:"data,omitempty"` // the value's text
}

type msgForm struct {
	From  ClientID  `json:"from"`
	Group GroupName `json:"group,omitempty"`
	Data  string    `json:"data"`
}

func eventFormOf(e Event) *eventForm {
	f := &eventForm{ID: e.ID, Ready: e.Ready, Error: e.Error, Pong: e.Pong, Moving: e.Moving, Presence: e.Presence, Ping: e.Ping, Close: e.Close}
	if e.OK != nil {
		f.OK = &okForm{Status: e.OK.Status, Nodes: e.OK.Nodes, Data: string(e.OK.Data)}
		if e.OK.Online != nil {
			f.OK.Online = &e.OK.Online
		}
	}
	if e.Msg != nil {
		f.Msg = &msgForm{From: e.Msg.From, Group: e.Msg.Group, Data: string(e.Msg.Data)}
	}
	return f
}

func encodeEvent(tb testing.TB, f *eventForm) []byte {
	tb.Helper()
	var req Request
	if f.ID != nil {
		req = Request{ID: *f.ID, HasID: true}
	}
	switch {
	case f.Ready != nil:
		return AppendReady(nil, *f.Ready)
	case f.Msg != nil && f.Msg.Group != "":
		return EncodeGroupMsg(f.Msg.From, f.Msg.Group, []byte(f.Msg.Data))
	case f.Msg != nil:
		return EncodeMsg(f.Msg.From, []byte(f.Msg.Data))
	case f.OK != nil && f.OK.Status == Sent:
		return AppendSent(nil, *f.ID, f.OK.Nodes)
	case f.OK != nil && f.OK.Data != "":
		return AppendAnswered(nil, *f.ID, []byte(f.OK.Data))
	case f.OK != nil && f.OK.Online != nil:
		return AppendOnline(nil, *f.ID, *f.OK.Online)
	case f.OK != nil && f.OK.Status == "":
		return AppendDone(nil, *f.ID)
	case f.OK != nil:
		return AppendOK(nil, *f.ID, f.OK.Status)
	case f.Error != nil:
		return AppendError(nil, req, f.Error)
	case f.Pong != nil:
		return AppendPong(nil, req)
	case f.Presence != nil:
		return AppendPresence(nil, f.Presence.Client, f.Presence.Online)
	case f.Moving != nil:
		return AppendMoving(nil, *f.Moving)
	case f.Ping != nil:
		return AppendPing(nil)
	case f.Close != nil:
		return AppendClose(nil, *f.Close)
	}
	tb.Fatal("no encoder for an empty event")
	return nil
}

func TestGoldenEvents(t *testing.T) {
	golden(t, "events.jsonl", func(c eventCase) string { return c.Name }, func(tb testing.TB, c eventCase) eventCase {
		tb.Helper()
		if c.Encode != nil {
			line, found := bytes.CutSuffix(encodeEvent(tb, c.Encode), []byte("\n"))
			if !found {
				tb.Errorf("%s: an encoder ends its object with a line break", c.Name)
			}
			c.Line = string(line)
		}
		e, err := DecodeEvent([]byte(c.Line))
		c.Event, c.Error = nil, err != nil
		if err == nil {
			c.Event = eventFormOf(e)
		}
		if c.Encode != nil && !reflect.DeepEqual(c.Encode, c.Event) {
			tb.Errorf("%s: encoded and decoded again it is %s", c.Name, mustJSON(tb, c.Event))
		}
		return c
	})
}

// bundleCase is one line of bundles.jsonl.
type bundleCase struct {
	Name   string      `json:"name"`
	Encode bool        `json:"encode,omitempty"` // Hex is what the encoder makes of Bundle
	Hex    string      `json:"hex"`
	Bundle *bundleForm `json:"bundle,omitempty"` // what a decoder reads before it meets an error, if it does
	Error  bool        `json:"error,omitempty"`
}

type bundleForm struct {
	From    NodeID       `json:"from"`
	Epoch   string       `json:"epoch"`
	Records []recordForm `json:"records"`
}

type recordForm struct {
	Kind    string    `json:"kind"`
	Seq     string    `json:"seq"` // decimal: it may be over 2^53
	To      string    `json:"to,omitempty"`
	ToKind  string    `json:"to_kind,omitempty"` // "c" or "g", where a record of that kind may have either
	Frame   string    `json:"frame,omitempty"`
	Epoch   string    `json:"epoch,omitempty"`
	Status  string    `json:"status,omitempty"`
	Session SessionID `json:"session,omitempty"`
	Code    CloseCode `json:"code,omitempty"`
}

var (
	kindNames = map[RecordKind]string{RecordMessage: "message", RecordAnswer: "answer", RecordEnd: "end", RecordGroup: "group", RecordChanged: "changed", RecordProbe: "probe", RecordForget: "forget"}
	statuses  = []Status{StatusDelivered, StatusNotHere, StatusUnsure, StatusOverload}
)

func recordFormOf(r Record) recordForm {
	f := recordForm{
		Kind: kindNames[r.Kind], Seq: strconv.FormatUint(r.Seq, 10), To: r.To.ID, Frame: string(r.Frame),
		Session: r.Session, Code: r.Code,
	}
	if r.Kind == RecordAnswer {
		f.Epoch, f.Status = r.Epoch.String(), r.Status.String()
	}
	if r.Kind == RecordChanged || r.Kind == RecordProbe {
		f.ToKind = string(r.To.Kind)
	}
	return f
}

func encodeBundle(tb testing.TB, f *bundleForm) []byte {
	tb.Helper()
	epoch, err := ParseEpoch(f.Epoch)
	if err != nil {
		tb.Fatal(err)
	}
	b := AppendBundle(nil, f.From, epoch)
	for _, rf := range f.Records {
		r := Record{To: ClientID(rf.To).Address(), Frame: []byte(rf.Frame), Session: rf.Session, Code: rf.Code}
		for kind, name := range kindNames {
			if name == rf.Kind {
				r.Kind = kind
			}
		}
		if rf.ToKind == "g" || r.Kind == RecordGroup {
			r.To.Kind = KindGroup
		}
		if r.Seq, err = strconv.ParseUint(rf.Seq, 10, 64); err != nil {
			tb.Fatal(err)
		}
		if r.Kind == RecordAnswer {
			if r.Epoch, err = ParseEpoch(rf.Epoch); err != nil {
				tb.Fatal(err)
			}
			for _, s := range statuses {
				if s.String() == rf.Status {
					r.Status = s
				}
			}
		}
		b = AppendRecord(b, r)
	}
	return b
}

// readBundle reads a whole bundle.
func readBundle(b []byte) (BundleReader, []Record, error) {
	bundle, err := ReadBundle(b)
	if err != nil {
		return bundle, nil, err
	}
	var records []Record
	for {
		var r Record
		ok, err := bundle.Next(&r)
		if !ok {
			return bundle, records, err
		}
		records = append(records, r)
	}
}

func TestGoldenBundles(t *testing.T) {
	golden(t, "bundles.jsonl", func(c bundleCase) string { return c.Name }, func(tb testing.TB, c bundleCase) bundleCase {
		tb.Helper()
		if c.Encode {
			c.Hex = hex.EncodeToString(encodeBundle(tb, c.Bundle))
		}
		bundle, records, err := readBundle(mustHex(tb, c.Hex))
		c.Error, c.Bundle = err != nil, nil
		if bundle.From != "" {
			c.Bundle = &bundleForm{From: bundle.From, Epoch: bundle.Epoch.String(), Records: []recordForm{}}
			for _, r := range records {
				c.Bundle.Records = append(c.Bundle.Records, recordFormOf(r))
			}
		}
		return c
	})
}

// nameCase is one line of names.jsonl.
type nameCase struct {
	Client  string `json:"client"`
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	Valid   bool   `json:"valid"` // all three are; else nothing is made of them
	Token   Token  `json:"token,omitempty"`
	Shard   *int   `json:"shard,omitempty"`
	Subject string `json:"subject,omitempty"`
	Return  string `json:"return,omitempty"`
	Key     Key    `json:"client_key,omitempty"`
	Lease   Key    `json:"lease_key,omitempty"`
}

func TestGoldenNames(t *testing.T) {
	name := func(c nameCase) string { return c.Cluster + "/" + c.Node + "/" + c.Client }
	golden(t, "names.jsonl", name, func(tb testing.TB, c nameCase) nameCase {
		tb.Helper()
		client, err1 := ParseClientID(c.Client)
		cluster, err2 := ParseClusterName(c.Cluster)
		node, err3 := ParseNodeID(c.Node)
		made := nameCase{Client: c.Client, Cluster: c.Cluster, Node: c.Node, Valid: err1 == nil && err2 == nil && err3 == nil}
		if !made.Valid {
			return made
		}
		shard := client.Address().Shard()
		made.Token, made.Shard = client.Address().Token(), &shard
		made.Subject = string(NodeSubject(cluster, node, shard))
		made.Return = string(ReturnPrefix(cluster, node))
		made.Key, made.Lease = RecordKey(cluster, client.Address()), LeaseKey(cluster, node)
		return made
	})
}
