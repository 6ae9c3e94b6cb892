package contracts

import "time"

// NamedRequest is a request of a backend that has a name, so that it is carried out once in its cluster.
type NamedRequest struct {
	Key   string   // the name of the API key: a [ClientID]
	Name  string   // what the backend calls the request; any bytes
	Asked [16]byte // a hash of what it asks for
	Try   [8]byte  // drawn anew whenever it is asked, to tell who carries it out
}

// NamedAnswer is what is known of the name of a request.
type NamedAnswer struct {
	Mine   bool          // nothing was: the try that asked is noted, and carries it out
	Other  bool          // it is that of a request that asks for something else
	Status int           // of the answer; 0 while the request is under way
	Body   []byte        // the answer
	Age    time.Duration // while it is under way: since when, by the clock that all share
}

// NamedKey is the string that says what became of a named request. Whatever bytes the name has, they do not reach the key.
func NamedKey(c ClusterName, r NamedRequest) Key {
	t := Address{ID: r.Key + "/" + r.Name}.Token() // no name of an API key has a slash
	return Key(KeyPrefix(c) + "named:{" + string(t) + "}")
}
