// Package licensingtest gives a program's own tests whole license managers
// without hardware: real managers on stores in memory, a simulated key that
// runs the program of a real one, a clock to turn and a cable to pull.
//
// What cannot be set up panics, like in net/http/httptest: it is a mistake in
// the test. What managers answer is theirs: the tests ask them directly.
package licensingtest
