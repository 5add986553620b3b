//go:build !linux && !darwin && !windows

package fingerprint

// machineID finds none: this system has no id that is known to us.
func machineID() (string, error) { return "", nil }
