//go:build !linux

package main

import "errors"

func openBoard() (outlet, error) {
	return nil, errors.New("-functionfs: only Linux can be a USB device")
}
