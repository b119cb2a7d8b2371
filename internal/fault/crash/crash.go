// Package crash marks the places before and after each step that touches a database or
// a broker, so that test/crash can kill a process at every one of them. Without
// the build tag crashpoints Point does nothing.
//
// A point's name is <package>.<step>.<before|after>, a literal at one place in the
// source: test/crash finds the points by reading it. "after" is passed whether the
// step succeeded or not.
//
// In a build with the tag, the environment says where the process dies, and names a
// file that it writes to.
package crash

const (
	// Variable is the environment variable that holds a point's name: the process kills
	// itself when it passes the point for the first time, or with "#n" after the name
	// for the nth time.
	Variable = "WAYBILL_CRASH"
	// TraceVariable is the environment variable that holds the path of a file: each
	// point that is passed is appended to it, a line each, at its first passing; and
	// DiedAt with the name, before the process dies.
	TraceVariable = "WAYBILL_CRASH_TRACE"
	// DiedAt begins a trace's last line.
	DiedAt = "died at "
)
