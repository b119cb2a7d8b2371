//go:build !unix

package handler

import (
	"os"
	"os/exec"
)

func shell(command string) (name string, args []string) { return "cmd", []string{"/C", command} }

func prepare(*exec.Cmd) {}

func terminate(p *os.Process) error { return p.Kill() }

func kill(p *os.Process) { _ = p.Kill() }
