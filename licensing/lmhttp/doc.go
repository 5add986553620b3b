// Package lmhttp is the HTTP API of a license manager: an [http.Handler] over a
// [licensing.Manager], for clients that speak the REST interface under
// /v1.0/lm.
//
//	handler := lmhttp.New(manager, &lmhttp.Options{Token: token, Logger: logger})
//	err := lmhttp.Server("127.0.0.1:3189", handler).ListenAndServe()
//
// openapi.yaml, which the handler serves itself, describes every operation with
// its answers and errors.
//
// # What it keeps out
//
// Every request must name a host that the handler answers to, so that no page in
// a browser can bind its own name to this computer and talk to it. What changes
// something, and every download, must come as application/json and not from
// another origin. A token, where one is set, is asked for before anything else
// is said, an unknown path included. Bodies end at 1 MiB; the API's own rules for
// requests are in openapi.yaml.
//
// Of requests with a body above 16 KiB 16 are served at a time, and as many of other
// managers' messages; 256 lists are written; one more waits a second and is then told to come again. An operation has
// 20 s: when a key needs longer, the answer is that the outcome is not known.
//
// # Other managers
//
// They speak to this one at peer/messages, where no token is asked for: every
// message proves who it is from. [Exchange] is the other end, for
// [licensing.Peers]. A manager without Peers refuses them all.
//
// # What the server around it must do
//
// The handler reads and writes at the pace of the connection. It is the
// [http.Server] that ends slow ones: [Server] makes one with safe timeouts. On an
// address that other computers can reach, serve TLS and set a token: the handler
// cannot see what it is bound to and does not insist.
package lmhttp
