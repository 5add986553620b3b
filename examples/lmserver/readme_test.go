package main

import (
	"os"
	"strings"
	"testing"
)

// TestReadme holds the commands that README shows to those of the script, which
// is run before a change lands.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("roundtrip.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, commands, found := strings.Cut(string(script), "# README: from here\n")
	commands, _, _ = strings.Cut(commands, "# README: to here")
	if !found || !strings.Contains(string(readme), "```sh\n"+commands+"```\n") {
		t.Errorf("README does not show\n%s", commands)
	}
}
