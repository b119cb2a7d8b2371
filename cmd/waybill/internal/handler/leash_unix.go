//go:build unix

package handler

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
)

// leash kills what still runs of the commands when our own process has ended, in whatever
// way: by a second SIGTERM, by SIGKILL, by a crash. It is a process of its own, which is told
// of each command's process group and notices our end by that of its standard input. A
// command that has left its group, as a daemon does, has left the leash too. It is safe for
// concurrent use.
type leash struct {
	mu     sync.Mutex
	groups map[int]struct{} // of commands that run
	cmd    *exec.Cmd        // nil while there is none
	input  io.WriteCloser
}

// watch is the process's program. Its session is its own, so that a terminal's hangup and a
// kill of our group do not reach it.
const watch = `trap '' HUP INT TERM
groups=' '
while read -r what group; do
	case $what in
	+) groups="$groups$group " ;;
	-) groups="${groups%%" $group "*} ${groups#*" $group "}" ;;
	esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done`

// add puts the process group of a command that has just begun on the leash.
func (l *leash) add(group int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.groups == nil {
		l.groups = map[int]struct{}{}
	}
	l.groups[group] = struct{}{}
	if l.cmd != nil && l.say('+', group) == nil {
		return nil
	}
	l.end() // somebody has killed it
	return l.begin()
}

// remove takes the group of a command that has ended off the leash.
func (l *leash) remove(group int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.groups, group)
	if l.cmd != nil && l.say('-', group) != nil {
		l.end() // the next command begins another
	}
}

// close ends the process. No command runs any more.
func (l *leash) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.end()
}

// begin starts the process and tells it of all groups. mu is held.
func (l *leash) begin() error {
	// No context ends it: it has to outlive whoever is killed, and ends with its input.
	cmd := exec.CommandContext(context.Background(), "/bin/sh", "-c", watch)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	l.cmd, l.input = cmd, input
	for group := range l.groups {
		if err := l.say('+', group); err != nil {
			l.end()
			return err
		}
	}
	return nil
}

// say tells the process of a group. mu is held.
func (l *leash) say(what rune, group int) error {
	_, err := fmt.Fprintf(l.input, "%c %d\n", what, group)
	return err
}

// end ends the process, which kills what is on the leash. mu is held.
func (l *leash) end() {
	if l.cmd == nil {
		return
	}
	l.input.Close()
	_ = l.cmd.Wait() // it is of no consequence how it ends
	l.cmd = nil
}
