//go:build !linux && !darwin && !freebsd && !windows

package badgerstore

import "errors"

// What a store needs of the system is not known for this one: Open refuses.

func freeSpace(string) (uint64, error)     { return 0, errors.ErrUnsupported }
func lockDir(string) (func() error, error) { return nil, errors.ErrUnsupported }
func syncDir(string) error                 { return errors.ErrUnsupported }
