//go:build !race

package licensing_test

func part(int) int { return 1 }
