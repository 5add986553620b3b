//go:build race

package main

// race says whether the tests look for data races. Then the program they run
// does so too.
const race = true
