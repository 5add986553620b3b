//go:build long

package licensing_test

// long asks for the whole of the loops that are otherwise cut to a part that
// stands for them: go test -tags long.
const long = true
