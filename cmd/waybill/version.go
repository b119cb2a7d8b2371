package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is the version that a release build sets:
// go build -ldflags "-X main.release=v1.2.3".
var release string

// version is what --version prints after the name.
func version() string {
	return fmt.Sprintf("%s (%s, %s/%s)", number(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// number is the version alone: of the release, of the module where it was built
// with "go install", or the commit.
func number() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel " + s.Value[:12]
		}
	}
	return "devel"
}
