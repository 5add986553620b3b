// Package peer is how two managers speak to each other: every request is signed
// by who asks, for the very manager that is meant and for a nonce that one gave
// out a moment ago, and every answer is signed over its request. So a recorded
// message is of no use to anybody: not again, not to another manager, not after
// a restart. No clock is compared.
//
// An exchange is two messages and their answers: a greeting, to which the other
// answers who it is, what its clock shows and a nonce; then the request. What
// carries the bytes is somebody else's business, and nobody on the way is trusted.
// What the verbs mean is their users' business too.
package peer
