//go:build !linux

package netlab

import "errors"

func enter(string, func() error) error {
	return errors.New("netlab: network namespaces are a thing of Linux")
}
