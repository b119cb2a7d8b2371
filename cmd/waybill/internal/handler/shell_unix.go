//go:build unix

package handler

import (
	"os"
	"os/exec"
	"syscall"
)

// held is the program of a shell that becomes the command's when it is told to, and ends where
// we do before that.
const held = `read -r go <&3 && exec 3<&- && exec /bin/sh -c "$0"`

func shell(command string) (name string, args []string) {
	return "/bin/sh", []string{"-c", held, command}
}

// hold makes what the command's shell waits for before it begins. The caller calls begin when
// it may, and then done, or only done where there will be no command.
func hold(cmd *exec.Cmd) (begin func() error, done func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	cmd.ExtraFiles = []*os.File{r} // 3
	begin = func() error {
		_, err := w.WriteString("go\n")
		return err
	}
	return begin, func() { r.Close(); w.Close() }, nil
}

// prepare gives the command a process group of its own: an interrupt at the terminal
// is meant for us, who let the command finish, and what it started ends with it.
func prepare(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate asks the command and what it started to end.
func terminate(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGTERM) }

// kill ends what is left of them; an error says that nothing is.
func kill(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
