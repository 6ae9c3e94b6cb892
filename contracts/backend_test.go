package contracts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestBackendRequestsAreRead(t *testing.T) {
	t.Parallel()
	session := strings.Repeat("0a", 16)
	for _, test := range []struct {
		op   BackendOp
		body string
		want BackendRequest
	}{
		{BackendSend, `{"from":"shop","to":"bob","data":{"a": 1.0}}`, BackendRequest{From: "shop", Clients: []ClientID{"bob"}, Data: []byte(`{"a": 1.0}`)}},
		{BackendSend, "\n{\"from\":\"shop\",\n \"to\":\"b\\u006fb\",\n\"data\":[1,\n2]}\n", BackendRequest{From: "shop", Clients: []ClientID{"bob"}, Data: []byte(`[1, 2]`)}},
		{BackendPublish, `{"from":"shop","group":"g","data":1}`, BackendRequest{From: "shop", Group: "g", Data: []byte(`1`)}},
		{BackendBroadcast, `{"from":"shop","to":["a","b","a"],"data":1}`, BackendRequest{From: "shop", Clients: []ClientID{"a", "b"}, Data: []byte(`1`)}},
		{BackendPresence, `{"clients":["a"]}`, BackendRequest{Clients: []ClientID{"a"}}},
		{BackendMembers, `{"group":"g"}`, BackendRequest{Group: "g", Members: MembersQuery{Group: "g", Limit: 100}}},
		{BackendMembers, `{"group":"g","after":"b","limit":1000}`, BackendRequest{Group: "g", Members: MembersQuery{Group: "g", After: "b", Limit: 1000}}},
		{BackendDisconnect, `{"client":"a"}`, BackendRequest{Clients: []ClientID{"a"}, Close: CloseForbidden}},
		{BackendDisconnect, `{"client":"a","session":"` + session + `","retry":"token"}`, BackendRequest{Clients: []ClientID{"a"}, Session: SessionID(session), Close: CloseUnauthorized}},
		{BackendTokens, `{"client":"a"}`, BackendRequest{Clients: []ClientID{"a"}, Token: TokenGrant{Life: time.Hour}}},
		{BackendTokens, `{"client":"a","ttl_s":5,"send":["b*"],"groups":[]}`, BackendRequest{Clients: []ClientID{"a"}, Token: TokenGrant{Life: 5 * time.Second, Send: []string{"b*"}, Groups: []string{}}}},
	} {
		test.want.Op = test.op
		got, bad := DecodeBackendRequest(test.op, []byte(test.body))
		if bad != nil || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", test.want) {
			t.Errorf("%s %s: got %#v, %v", test.op, test.body, got, bad)
		}
	}
}

func TestBadBackendRequestsAreRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	many := func(n int) string { return `["` + strings.Join(slices.Repeat([]string{"a"}, n), `","`) + `"]` }
	for _, test := range []struct {
		op         BackendOp
		body, says string
	}{
		{BackendSend, ``, "one JSON object"},
		{BackendSend, `[]`, "one JSON object"},
		{BackendSend, `{"from":"a","to":"b","data":1}{}`, "one JSON object"},
		{BackendSend, `{"from":"a","to":"b","data":"` + "\xff" + `"}`, "UTF-8"},
		{BackendSend, `{"from":"a","to":"b"}`, "needs data"},
		{BackendSend, `{"from":"a","to":"b","data":1,"durable":true}`, "does not have"},
		{BackendSend, `{"From":"a","from":"a","to":"b","data":1}`, "does not have"},
		{BackendSend, `{"from":"a","from":"c","to":"b","data":1}`, "twice"},
		{BackendSend, `{"from":"a","to":["b"],"data":1}`, "to: must be a string"},
		{BackendSend, `{"from":"a","to":"b/","data":1}`, "to: invalid id: byte 2"},
		{BackendSend, `{"from":"a","to":"b","data":` + strings.Repeat("[", 129) + strings.Repeat("]", 129) + `}`, "deep"},
		{BackendBroadcast, `{"from":"a","to":[],"data":1}`, "1 to 1000"},
		{BackendBroadcast, `{"from":"a","to":` + many(1001) + `,"data":1}`, "1 to 1000"},
		{BackendPresence, `{"clients":` + many(257) + `}`, "1 to 256"},
		{BackendPresence, `{"clients":[1]}`, "strings"},
		{BackendPresence, `{"clients":[null]}`, "empty"},
		{BackendMembers, `{"group":"g","limit":0}`, "1 to 1000"},
		{BackendMembers, `{"group":"g","limit":1e2}`, "1 to 1000"},
		{BackendDisconnect, `{"client":"a","session":"x"}`, "32 digits"},
		{BackendDisconnect, `{"client":"a","retry":"later"}`, "never, token or backoff"},
		{BackendTokens, `{"client":"a","ttl_s":2592001}`, "1 to 2592000"},
		{BackendTokens, `{"client":"a","send":"*"}`, "0 to 64"},
		{BackendTokens, `{"client":"a","admin":true}`, "does not have"},
	} {
		_, bad := DecodeBackendRequest(test.op, []byte(test.body))
		if bad == nil || bad.Code != CodeBadRequest || !strings.Contains(bad.Message, test.says) {
			t.Errorf("%s %.80s: %v, which does not say %q", test.op, test.body, bad, test.says)
		}
	}
}

func TestABatchSaysOfEachOperationWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 128) + strings.Repeat("]", 128)
	items, bad := DecodeBackendBatch([]byte(`{ "operations" : [
		{"send":{"from":"a","to":"b","data":` + deep + `}}, {"members":{"group":"g"}}, {"send":{}}, {"shout":{}}, {}, {"presence":{"clients":["a"]},"x":1} ] } `))
	if bad != nil || len(items) != 6 {
		t.Fatal(len(items), bad)
	}
	for i, op := range []BackendOp{BackendSend, BackendMembers} {
		if items[i].Bad != nil || items[i].Request.Op != op {
			t.Errorf("%d: %+v", i, items[i])
		}
	}
	for i := 2; i < 6; i++ {
		if items[i].Bad == nil {
			t.Errorf("%d: %+v", i, items[i])
		}
	}
	one := `{"send":{}}`
	for _, body := range []string{
		``, `{}`, `[]`, `{"operations":[]}`, `{"operations":{}}`, `{"operations":[1]}`, `{"operations":[` + one + `]`, `{"operations":[` + one + `}}`,
		`{"operations":[` + one + `],"x":1}`, `{"operations":[` + one + `]} x`, `{"operations":[` + one + `,]}`, `{"operation":[` + one + `]}`,
		`{"operations":[` + strings.Repeat(one+",", MaxBatch) + one + `]}`, `{"operations":[{"send":"` + "\xff" + `"}]}`, `{"operations":[` + one,
	} {
		if items, bad := DecodeBackendBatch([]byte(body)); bad == nil {
			t.Errorf("%.60s is a batch of %d", body, len(items))
		}
	}
}

// What was read is of the contract, and what can be read alone can be read in a batch.
func FuzzDecodeBackend(f *testing.F) {
	f.Add("send", []byte(`{"from":"a","to":"b","data":[1]}`))
	f.Add("broadcast", []byte(`{"from":"a","to":["b"],"data":1}`))
	f.Add("members", []byte(`{"group":"g","after":"a","limit":7}`))
	f.Add("disconnect", []byte(`{"client":"a","retry":"token"}`))
	f.Add("tokens", []byte(`{"client":"a","ttl_s":7,"send":["*"]}`))
	f.Fuzz(func(t *testing.T, op string, body []byte) {
		req, bad := DecodeBackendRequest(BackendOp(op), body)
		batch, none := DecodeBackendBatch([]byte(`{"operations":[{"` + op + `":` + string(body) + `}]}`))
		if bad != nil || backendFields[req.Op] == nil {
			return
		}
		if none != nil || len(batch) != 1 || batch[0].Bad != nil || fmt.Sprintf("%#v", batch[0].Request) != fmt.Sprintf("%#v", req) {
			t.Fatalf("alone it is %#v, in a batch %+v %v", req, batch, none)
		}
		for _, c := range append(req.Clients, req.From, req.Members.After) {
			if _, err := ParseClientID(c); c != "" && err != nil {
				t.Fatal(err)
			}
		}
		if len(req.Clients) > MaxBroadcast || req.Data != nil && !ValidData(req.Data) || !utf8.Valid(req.Data) {
			t.Fatalf("%#v", req)
		}
	})
}

func TestANameReachesNoOtherKey(t *testing.T) {
	t.Parallel()
	seen := map[Key]string{}
	for _, r := range []NamedRequest{
		{Key: "shop", Name: "order-7"},
		{Key: "shop", Name: "order-8"},
		{Key: "shop", Name: "}\r\nDEL x{"},
		{Key: "shop-2", Name: "order-7"},
		{Key: "shop", Name: "2/order-7"},
		{Key: "shop", Name: "shop/order-7"},
	} {
		key := NamedKey("a", r)
		if len(key) != len("bl:a:named:{}")+26 || !strings.HasPrefix(string(key), "bl:a:named:{") || seen[key] != "" {
			t.Errorf("%+v: %q, also of %q", r, key, seen[key])
		}
		seen[key] = r.Name
	}
	r := NamedRequest{Key: "shop", Name: "order-7"}
	again := r
	again.Asked[0], again.Try[0] = 1, 1
	if NamedKey("a", r) != NamedKey("a", again) {
		t.Error("what is asked, or how often, changes the key")
	}
}
