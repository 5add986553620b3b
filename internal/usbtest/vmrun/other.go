//go:build !linux

// Vmrun runs a program in a small virtual machine. It works on Linux alone.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "vmrun: only on Linux")
	os.Exit(1)
}
