// Package licensing lets a license seat leave its network pool for a while and
// come home by itself.
//
// A [Manager] serves the pools in the keys plugged into its computer and the
// licenses installed on it. Detach takes seats out of a pool into a sealed
// [Buffer] for one known computer, Install brings the buffer in there, Check
// tells a program that it may run, CancelDetach gives the seats back early, and
// at its death time a license comes home without anybody doing anything.
//
// What was acknowledged survives a crash. What was refused has not happened.
// Where that is not known the error wraps [ErrUnknown], and asking again with
// the same request key settles it. Errors are *[Error] and wrap a [Code].
//
// A Manager has no globals: one process may open several, for several vendors.
// It is safe for concurrent use; the other types here are plain data.
package licensing
