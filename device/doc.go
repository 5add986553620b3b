// Package device speaks to one open license key: what it is, which pool license
// it holds, where its ledger stands, and how to move both on. It works over any
// [transport.Conn], and believes nothing that comes from there before it has
// checked it.
//
// Commands are repeated a few times when an answer is lost or damaged; every
// command of the protocol may be. When that does not help, the error is an
// [*Error] that says whether the key may have acted all the same.
//
// The rest of this page is the protocol of an open key, version 1. It describes
// it whole, from the plug to the last status: a key can be built from it alone,
// and so can a program that speaks to one. Numbers in frames are big-endian,
// those in USB's own structures little-endian, as USB has them. Times are Unix
// seconds in 8 bytes, 0 to 253402300799, the end of the year 9999; there is none for
// "not known", and a program refuses an answer with any other.
//
// # On USB: descriptors
//
// A key is a USB 2.0 device at full or high speed (a faster one does no harm).
//
//   - Device: bDeviceClass 0xFF, or 0 where the key is one function among others.
//     idVendor and idProduct are the vendor's own; 1209:0001, pid.codes' id for
//     tests, is for development only and never for sale. iSerialNumber names a
//     string of 1 to 64 letters, digits, '.', '_' and '-' that no other key of the
//     product has; by habit it is the key's id in eight upper-case hex digits.
//   - Configuration: one is enough.
//   - Interface: one, alternate setting 0 alone, with bInterfaceClass 0xFF (vendor),
//     bInterfaceSubClass 0x53 and bInterfaceProtocol 0x01, which is the version of
//     the rules for USB on this page. By these three a program knows a key; with
//     another bInterfaceProtocol it is none that the program can speak to. Its
//     bInterfaceNumber is its place among the configuration's interfaces, from 0.
//   - Endpoints: one bulk OUT and one bulk IN, of any numbers and no others.
//     wMaxPacketSize is the same for both: 8, 16, 32 or 64 at full speed, 512 at
//     high speed, 1024 above.
//
// A program claims the interface for itself alone while it uses the key.
//
// # On USB: frames over packets
//
// A request goes over the OUT endpoint, its answer over the IN endpoint. Each frame
// (below) is one transfer: packets of wMaxPacketSize bytes, and one shorter packet
// that ends it. A frame whose length is a multiple of wMaxPacketSize is ended by a
// packet of zero bytes, in both directions. The packets alone mark the ends: neither
// side waits for more because a length field says so, nor begins a new frame within
// a transfer. A program reads into a buffer that is larger than the longest frame
// and a multiple of wMaxPacketSize, so that nothing fits that is too long.
//
// A key receives packets until the short one, then acts, then answers. A transfer of
// more than 4110 bytes it receives to its end, without keeping it, and answers
// status 1. While it acts, and until the whole answer was fetched, it may take one
// more request from the OUT endpoint and let it wait, or not acknowledge its packets
// (NAK); it acts on no more before the answer is gone. So answers come in the order
// of the requests, and there is never more than one on its way.
//
// A key never halts (stalls) a bulk endpoint. When a program meets a halted one all
// the same, it resets the port (which is a USB reset: the key drops what "Reset"
// below says, and may forget what was staged) and claims the interface again. Where
// somebody else has claimed it meanwhile the key is theirs: it resets the port only of
// a key whose interface it has claimed.
//
// # On USB: reset
//
// There is one control request. It brings both sides to a known state after an
// exchange that a program did not see to its end: it gave up waiting, or the answer
// was damaged.
//
//	bmRequestType 0x41 (to the device, vendor, interface)
//	bRequest      0x01
//	wValue        0
//	wIndex        the interface's number
//	wLength       0
//
// The key drops a request that it has not begun to act on, whole or not, and an
// answer that was not fetched, as far as that is possible: a packet that the USB
// hardware has already put out may still come, and where it is a full one, the next answer
// follows it in the same transfer. A command that it is acting on it
// carries out to its end, durably, and does not answer. It acknowledges the request
// at once, within 100 ms, also while it is acting. What was staged stays. A program
// sends it after claiming the interface, as somebody else may have left an exchange
// unfinished. With another wValue, wIndex or wLength it is stalled, as USB has it for
// requests that a device does not know. So is every other vendor request, but those by
// which a key tells an operating system of its driver (Microsoft's descriptors, say).
//
// SET_CONFIGURATION, SET_INTERFACE and a USB reset make the key drop the same.
//
// # Sequence numbers
//
// A program gives every request another number than the ones before, a repeated one
// too, and takes only that frame for the answer whose number and opcode are its
// request's; any other is a late answer to a request that it gave up, or one that
// came twice. It drops it and reads on; who asks again without having read the answer
// stays one behind. When none comes in time, or after four dropped ones, it resets and
// asks again with a new number. After a reset there is at most one such, and
// it may be to a request of the program that had the key before. So a program begins
// with a number taken at random, and counts up from there, round the end of the range:
// programs that all begin with 1 and ask for Info first would take each other's.
//
// An answer that is no whole frame is damaged and not late: a packet that was left before
// a reset comes as part of the next transfer, before the answer. The program asks again,
// with a new number. It does so too for an answer of opcode 0x80, number 0 and status 1,
// which says that a request came damaged. A key remembers no numbers: a request that
// comes twice is carried out twice, which does no harm.
//
// # Limits and times
//
//   - A frame has 14 to 4110 bytes, its payload at most 4096; a pool license at most
//     65536, which is 17 pieces.
//   - A key is ready one second after it has power. It answers Info, ReadPool, Stage,
//     Checkpoint and Time within one second, Advance and Install within five. A
//     program should wait twice as long before it gives a key up. A command that the
//     key goes on with after a reset, nobody waiting for its answer, comes on top: who
//     has just opened a key, or gave an Advance or Install up, waits for those five
//     seconds too.
//   - Power may be lost at any moment. What was answered is kept; what was not, is kept
//     whole or not at all.
//
// # Frames
//
// A program sends one request frame and the key sends one answer frame.
//
//	offset  bytes
//	0       2      magic, "SJ"
//	2       1      protocol version, 1
//	3       1      opcode; an answer has the request's opcode with bit 7 set
//	4       4      sequence number, chosen by the program; an answer repeats it
//	8       2      status; 0 in a request
//	10      2      length n of the payload, 0 to 4096
//	12      n      payload
//	12+n    2      CRC-16/CCITT-FALSE over everything before it: polynomial 0x1021,
//	               start 0xFFFF, neither reflected nor inverted
//
// A frame has exactly 14+n bytes. An answer whose status is not 0 has no
// payload. The frame's layout is the same in all versions of the protocol.
//
// A key acts on whole, well-formed requests only, one at a time, in their order.
// What is no request frame it answers with opcode 0x80, sequence number 0 and
// status 1; a frame of another version with status 2; an opcode it does not know
// with status 3; a payload that does not have its opcode's layout with status 4.
// The answer of status 2 has the version that the key speaks, the request's opcode
// with bit 7 set, and its number.
//
// Two frames, byte by byte: Time with sequence number 7, and its answer:
//
//	534a0107 00000007 0000 0000 94a4
//	534a0187 00000007 0000 0008 000000006553f100 d09f
//
// # Commands
//
// Every command may be repeated after a lost answer: repeating does no harm and
// gives the same answer. Beside the statuses of a command, any may be answered with
// 4, and with 11 where the key has to read its flash anew.
//
//	0x01 Info
//	    request  nothing
//	    answer   8  key id: 1 to 0xFFFFFFFE, or 0 for a key that is only an anchor
//	             1  model: 0 unknown, 1 software, 2 Sign, 3 Time, 4 Code, 5 Code Time
//	             1  flags: 1 has a clock, 2 the clock has died, 4 the log is worn out;
//	                the other bits are 0
//	             4  firmware version: major in the high half, minor in the low
//	             8  date of manufacture
//	             4  vendor code, 0 for an anchor
//	             32 public key, Ed25519
//	             8  counter of the pool license, 0 where there is none
//	             4  its length in bytes, 0 where there is none
//	             8  number of the newest batch, 0 for none
//	             4  how many more batches the log can take, at most
//	    A program keeps the last 64 batches back, since a write may fail or be torn: a
//	    key that has fewer left is worn out to it, and is read only. Of one that has fewer
//	    than 1000 left it asks Info before each batch.
//	    A program refuses another key id, model or flag, and a pool license that
//	    has a counter and no length or the other way round.
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
//	             8  horizon: the latest of all batches' horizons, 0 for none;
//	                of the range that it has in a header
//	             64 the key's signature over these ("What a key signs", below)
//	0x04 Advance
//	    request  32 head that the program believes the key to have
//	             n  encoded header of the next batch, 1 to 512 bytes
//	    answer   as Checkpoint
//	    statuses 4, 6, 10, 11
//	    The key computes the new head from the two. Where that is its head, it
//	    answers as Checkpoint does. Where the old head is its head and the header's
//	    number is the next, it keeps number, new head and the higher of the two
//	    horizons, durably, and then answers. Anything else is a fork.
//	0x05 Stage
//	    request  4  offset in bytes
//	             n  bytes of a pool license from there on, 1 to 4092
//	    answer   nothing
//	    statuses 4, 9
//	    The key has room in memory for one pool license, which is empty when the
//	    power comes. The offset is at most the length of what is there; the new
//	    bytes replace everything from the offset on. They end at 65536 at the latest.
//	    A program that gets status 9 to this or to Install begins at offset 0 again, once:
//	    the key had a USB reset meanwhile.
//	0x06 Install
//	    request  4  length of the pool license, 1 to 65536
//	             32 its SHA-256
//	    answer   nothing
//	    statuses 4, 7, 8, 9, 10, 11, 12
//	    Where the key's pool license has this length and hash it answers 0, whatever
//	    is staged: it was asked before. Else it takes what was staged as its pool
//	    license, durably, and then answers.
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
//	4   a payload, header or pool license that is malformed; nothing was done
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
//
// # What a key signs, and what it checks
//
// A key has an Ed25519 key pair (RFC 8032, pure), which it makes at its first start
// and whose private half never leaves it, and its vendor's code and public key from
// the factory. Documents are CBOR in its one deterministic encoding (RFC 8949,
// section 4.2.1: shortest integers and lengths, definite lengths, map keys rising,
// every field present); anything else is malformed. {1: a, 2: b} is a map with
// integer keys. A signature is over domain, one zero byte, payload.
//
// The head of a ledger is 32 zero bytes before the first batch, and then
//
//	head = SHA-256("sojourn/head/1", 0x00, head before, encoded header)
//
// Its header, at most 512 bytes, is
//
//	{1: 1,            version
//	 2: number,       1 for the first batch, the next one for each
//	 3: 32 bytes,     root over the batch's entries
//	 4: count,        1 to 2^32
//	 5: time,         0 to 253402300799, the end of the year 9999
//	 6: horizon,      of the same range: the latest time at which a seat that ever
//	                  left is due
//	 7: 32 bits,      version of the rules
//	 8: {1: number, 2: 32 bytes}}   the manager's own ledger then
//
// and of these a key needs number and horizon; the others it only holds to their
// form. A checkpoint's signature is in the domain "sojourn/checkpoint/1", over
//
//	{1: number, 2: head, 3: horizon, 4: h''}
//
// The pool license that is staged is
//
//	{1: {1: head, 2: signature}, 2: [features, 1 to 512]}
//
// where head is a byte string that holds
//
//	{1: 1,            version
//	 2: key id,
//	 3: 32 bytes,     the key's public key
//	 4: 32 bits,      vendor code
//	 5: 64 bits,      first 8 bytes of SHA-256(vendor's public key)
//	 6: counter,      1 or higher; rises with each pool license for this key
//	 7: time,         issued
//	 8: {1: [binding rules, 0 to 32], 2: 32 bits},
//	 9: seconds,      longest detach, 0 for no limit
//	 10: count,       of features
//	 11: 32 bytes}    feature root
//
// and signature is the vendor's over that byte string's content, in the domain
// "sojourn/pool/1". The root is that of a tree as RFC 6962, section 2.1, has it,
// whose leaves are the features' bytes in their order.
//
// A key keeps what its vendor signed, and judges of it only what it needs itself, so
// that a key of today takes the features of tomorrow. Of the head it reads 1 to 4, 6, 10
// and 11. What stands at 5, 7, 8 and 9, and each feature, it takes for one data item of
// any kind: well-formed, of definite lengths and without tags, in whatever encoding.
// Neither the license nor the head, which as a byte string is a document of its own, has
// more than 8 arrays and maps within each other, 4096 items in an array or 64 pairs in a
// map. A key checks, in this order,
//
//   - that the form is right: what it reads is in the deterministic encoding and of the
//     sizes above, the version is 1, the counter not 0, the count 1 to 512 and that of
//     the features, and the root theirs; else status 4
//   - that id, vendor code and public key are its own; else status 12
//   - that the signature is its vendor's; else status 8
//   - that the counter is higher than that of the license it has, unless that is the
//     same one to the byte; else status 7
//
// The rest is for programs. They check it before they give a license to a key, as
// [Key.Install] does, and after they read it from one. To them a binding rule is {1: name
// of a component, 2: weight, 3: whether replaceable}, and a feature
//
//	{1: product number, 2: modification, 3: product name, 4: number, 5: name,
//	 6: seats, 7: remote mode, 8: consumption mode, 9: valid from, 10: valid up to,
//	 11: most runs, 12: detachable, 13: no remote desktop, 14: no virtual machine}
//
// The file internal/document/documents.cddl of this module has the order and the bounds
// of all these, and what managers make of them.
//
// # Versions
//
// The version of the frames changes with the meaning of a frame, bInterfaceProtocol
// with the rules for USB. A key of a later version answers frames of this one with
// status 2 where it no longer speaks it, and keeps the frame's layout, so that an
// older program can say what is wrong. New commands may come without a new version:
// an older key answers them with status 3.
package device
