package registry

import (
	"net/http"
	"slices"
	"strings"

	"github.com/beeline-rt/beeline/contracts"
)

// preflightSeconds is how long a browser may remember what a page may ask: as long as browsers do at most.
const preflightSeconds = "7200"

// fromPage tells whether a request may be answered as far as its Origin goes, and has the browser show the answer to the page.
// The Origin is held against the list as it is at an edge: exactly, and one without is no browser's.
func (r *Registry) fromPage(w http.ResponseWriter, req *http.Request) bool {
	origins, all := req.Header.Values("Origin"), slices.Contains(r.cfg.Origins, "*")
	if len(r.cfg.Origins) > 0 && !all {
		w.Header().Add("Vary", "Origin") // what one page is told holds for no other
	}
	switch {
	case len(origins) == 0:
		return true
	case len(origins) > 1:
		return false
	case all:
		w.Header().Set("Access-Control-Allow-Origin", "*")
	case slices.ContainsFunc(r.cfg.Origins, func(o string) bool { return strings.EqualFold(o, origins[0]) }):
		w.Header().Set("Access-Control-Allow-Origin", origins[0])
	default:
		return false
	}
	w.Header().Set("Access-Control-Expose-Headers", "Retry-After")
	return true
}

// preflight answers a browser that asks whether a page may ask. An API key is for backends: no page may send one.
func (r *Registry) preflight(w http.ResponseWriter, req *http.Request) {
	if !r.fromPage(w, req) {
		r.refuse(w, 0, 0, refusal(contracts.CodeForbidden, errOrigin))
		return
	}
	h := w.Header()
	h.Set("Allow", "POST, OPTIONS")
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", http.MethodPost)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", preflightSeconds)
	}
	w.WriteHeader(http.StatusNoContent)
}

const errOrigin = "this origin is not allowed"
