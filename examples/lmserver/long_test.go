//go:build long

package main

// long asks for the whole of the matrix of which otherwise a part runs: go test
// -tags long.
const long = true
