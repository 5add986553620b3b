// Package wire is the protocol between a program and a license key: frames, and
// the layout of what each of them carries. This page describes it whole; a key
// can be built from it alone.
//
// # Frames
//
// A program sends one request frame and the key sends one answer frame. All
// numbers are big-endian, all times Unix seconds in 8 bytes, signed.
//
//	offset  bytes
//	0       2      magic, "SJ"
//	2       1      protocol version, 1
//	3       1      opcode; an answer has the request's opcode with bit 7 set
//	4       4      sequence number, chosen by the program; an answer repeats it
//	8       2      status; 0 in a request
//	10      2      length n of the payload, 0 to 4096
//	12      n      payload
//	12+n    2      CRC-16/CCITT-FALSE over everything before it
//
// A frame has exactly 14+n bytes. An answer whose status is not 0 has no
// payload. The frame's layout is the same in all versions of the protocol.
//
// A key acts on whole, well-formed requests only, one at a time, in their order.
// What is no request frame it answers with opcode 0x80, sequence number 0 and
// status 1; a frame of another version with status 2; an opcode it does not know
// with status 3; a payload that does not have its opcode's layout with status 4.
//
// # Commands
//
// Every command may be repeated after a lost answer: repeating does no harm and
// gives the same answer.
//
//	0x01 Info
//	    request  nothing
//	    answer   8  key id: 1 to 0xFFFFFFFE, or 0 for a key that is only an anchor
//	             1  model: 0 unknown, 1 software, 2 Sign, 3 Time, 4 Code, 5 Code Time
//	             1  flags: 1 has a clock, 2 the clock has died, 4 the log is worn out
//	             4  firmware version: major in the high half, minor in the low
//	             8  date of manufacture
//	             4  vendor code, 0 for an anchor
//	             32 public key, Ed25519
//	             8  counter of the pool license, 0 where there is none
//	             4  its length in bytes, 0 where there is none
//	             8  number of the newest batch, 0 for none
//	             4  how many more batches the log can take, at most
//	0x02 ReadPool
//	    request  4  offset in bytes
//	    answer   4  length of the whole pool license, 1 to 65536
//	             n  its bytes from the offset on: all that are left, at most 4092;
//	                none at or behind the end
//	    statuses 5
//	0x03 Checkpoint
//	    request  nothing
//	    answer   8  number of the newest batch, 0 for none
//	             32 head: the hash over the chain of all batches, zero for none
//	             8  horizon: the latest of all batches' horizons, 0 for none
//	             64 Ed25519 signature over these, as documents.cddl describes
//	0x04 Advance
//	    request  32 head that the program believes the key to have
//	             n  encoded header of the next batch, 1 to 512 bytes
//	    answer   as Checkpoint
//	    statuses 6, 10, 11
//	    The key computes the new head from the two. Where that is its head, it
//	    answers as Checkpoint does. Where the old head is its head and the header's
//	    number is the next, it keeps number, new head and the higher of the two
//	    horizons, durably, and then answers. Anything else is a fork.
//	0x05 Stage
//	    request  4  offset in bytes
//	             n  bytes of a pool license from there on, 1 to 4092
//	    answer   nothing
//	    statuses 9
//	    The key has room in memory for one pool license, which is empty when the
//	    power comes. The offset is at most the length of what is there; the new
//	    bytes replace everything from the offset on.
//	0x06 Install
//	    request  4  length of the pool license, 1 to 65536
//	             32 its SHA-256
//	    answer   nothing
//	    statuses 4, 7, 8, 9, 10, 11, 12
//	    The key takes what was staged as its pool license, durably, and then
//	    answers. It also answers 0 where it already has just that license.
//	0x07 Time
//	    request  nothing
//	    answer   8  what the key's clock shows
//	    statuses 13, 14
//
// # Statuses
//
//	0   done
//	1   not a request frame, or damaged; nothing was done
//	2   a version of the protocol that the key does not speak
//	3   an opcode that the key does not know
//	4   a payload, header or pool license that is malformed
//	5   there is no pool license
//	6   fork: the head is not the one that the key has; nothing was done
//	7   the pool license's counter is not higher; nothing was done
//	8   the pool license is not signed by the key's vendor; nothing was done
//	9   what was staged is not what the request says; nothing was done
//	10  the flash is worn out; nothing was done, the key can still be read
//	11  the flash failed; whether it was done, Info and Checkpoint tell
//	12  the pool license is for another key or of another vendor; nothing was done
//	13  the key has no clock
//	14  the key's clock has died
package wire
