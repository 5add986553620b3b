// Package wire is the protocol between a program and a license key: frames, and
// the layout of what each of them carries. The page of package device describes
// the protocol whole.
package wire
