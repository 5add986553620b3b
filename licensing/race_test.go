//go:build race

package licensing_test

// part is the step of loops whose rounds differ in what fails alone: the race detector sees
// in every n-th of them what it would see in all. Without it they run whole.
func part(n int) int { return n }
