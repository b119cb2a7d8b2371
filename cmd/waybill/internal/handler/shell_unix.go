//go:build unix

package handler

import (
	"os"
	"os/exec"
	"syscall"
)

func shell(command string) (name string, args []string) { return "/bin/sh", []string{"-c", command} }

// prepare gives the command a process group of its own: an interrupt at the terminal
// is meant for us, who let the command finish, and what it started ends with it.
func prepare(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// terminate asks the command and what it started to end.
func terminate(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGTERM) }

// kill ends what is left of them; an error says that nothing is.
func kill(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }
