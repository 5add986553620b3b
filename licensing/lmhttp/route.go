package lmhttp

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/sojournlm/sojourn/licensing"
)

// BasePath is where the API lies. A server that serves more mounts the handler
// at BasePath + "/".
const BasePath = "/v1.0/lm"

// kind says what a request may carry.
type kind int

const (
	reading  kind = iota // a query
	asking               // a query and a body; changes nothing
	changing             // a query, a body and a request key
	peering              // a query and a body that proves who sent it
)

// route is one operation of the API.
type route struct {
	method, path string
	kind         kind
	serve        func(*call) error
	lists        bool // it answers with a list
}

// routes are all operations. The API's own documentation spells the path of the
// fingerprints in two ways, so every verb answers to both.
var routes = []route{
	{"POST", "/detach", changing, (*call).detach, false},
	{"POST", "/canceldetach", changing, (*call).cancelDetach, false},
	{"POST", "/install", changing, (*call).install, false},

	{"GET", "/detached/products/features", reading, (*call).listDetached, true},
	{"POST", "/detached/download", asking, (*call).downloadDetached, false},
	{"GET", "/cancelled/licenses", reading, (*call).listCancelled, true},
	{"POST", "/cancelled/download", asking, (*call).downloadCancelled, false},
	{"DELETE", "/cancelled/licenses", changing, (*call).forgetCancelled, true},

	{"GET", "/fingerprints", reading, (*call).listFingerprints, true},
	{"POST", "/fingerprints", changing, (*call).addFingerprint, true},
	{"PUT", "/fingerprints", changing, (*call).editFingerprint, true},
	{"DELETE", "/fingerprints", changing, (*call).removeFingerprint, true},
	{"GET", "/fingerpints", reading, (*call).listFingerprints, true},
	{"POST", "/fingerpints", changing, (*call).addFingerprint, true},
	{"PUT", "/fingerpints", changing, (*call).editFingerprint, true},
	{"DELETE", "/fingerpints", changing, (*call).removeFingerprint, true},
	{"GET", "/environment", reading, (*call).environment, false},

	{"GET", "/dongles", reading, (*call).listDongles, true},
	{"GET", "/features", reading, (*call).listFeatures, true},
	{"GET", "/dongles/products/features", reading, (*call).listTree, true},

	{"GET", "/intents", reading, (*call).listIntents, true},
	{"POST", peerPath, peering, (*call).peer, false},

	{"GET", "/openapi.yaml", reading, (*call).openAPI, false},
}

// route finds the operation of a request. A HEAD is a GET whose answer stays
// away.
func (h *handler) route(w http.ResponseWriter, r *http.Request) (route, error) {
	methods, ok := h.paths[r.URL.Path]
	if !ok {
		return route{}, &refusal{
			http.StatusNotFound, licensing.NoResultsFound, "there is no " + clip(r.URL.Path) + " here",
			"The paths are listed in " + BasePath + "/openapi.yaml.",
		}
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	found, ok := methods[method]
	if !ok {
		allowed := slices.Collect(maps.Keys(methods))
		if methods[http.MethodGet].serve != nil {
			allowed = append(allowed, http.MethodHead)
		}
		slices.Sort(allowed)
		allow := strings.Join(allowed, ", ")
		w.Header().Set("Allow", allow)
		return route{}, &refusal{
			http.StatusMethodNotAllowed, licensing.InvalidParameter, clip(r.Method) + " is no method of this path",
			"Use one of " + allow + ".",
		}
	}
	return found, nil
}
