//go:build !long

package licensing_test

const long = false
