//go:build !unix

package handler

import (
	"os"
	"os/exec"
)

func shell(command string) (name string, args []string) { return "cmd", []string{"/C", command} }

func hold(*exec.Cmd) (begin func() error, done func(), err error) {
	return func() error { return nil }, func() {}, nil
}

func prepare(*exec.Cmd) {}

func terminate(p *os.Process) error { return p.Kill() }

func kill(p *os.Process) { _ = p.Kill() }
