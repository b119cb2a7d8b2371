package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is the version that a release build sets:
// go build -ldflags "-X main.release=v1.2.3".
var release string

// version is what --version prints after the name, with the build's tags, which say what
// it was built without.
func version() string {
	built := fmt.Sprintf("%s, %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if tags := setting("-tags"); tags != "" {
		built += ", tags " + tags
	}
	return fmt.Sprintf("%s (%s)", number(), built)
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
	if revision := setting("vcs.revision"); len(revision) >= 12 {
		return "devel " + revision[:12]
	}
	return "devel"
}

// setting is what the program was built with; "" where that is not known.
func setting(key string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
