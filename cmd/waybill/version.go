package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// release is the version that a release build sets:
// go build -ldflags "-X main.release=v1.2.3".
var release string

const versionHelp = `Print this program's version, the commit it was built of and with which Go. A tag such as
waybill_lean says that drivers or clients were left out. "--version" prints the same on one
line.`

const versionExample = `  waybill version
  waybill version --json | jq -r .revision`

// built is what is known of how this program was built. Its JSON form is what "version --json"
// prints; what is not known is empty.
type built struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`      // of the version control
	At       string `json:"revision_time"` // RFC 3339
	Modified bool   `json:"modified"`      // there were changes beside the revision
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	Tags     string `json:"tags"` // of the build, with commas between
}

func newVersionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version, the commit and Go's version",
		Long:    versionHelp,
		Example: versionExample,
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := thisBuild()
			return printLine(cmd.OutOrStdout(), asJSON, b, b.text())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object on one line")
	return cmd
}

func thisBuild() *built {
	return &built{
		Version: number(), Revision: setting("vcs.revision"), At: setting("vcs.time"), Modified: setting("vcs.modified") == "true",
		Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Tags: setting("-tags"),
	}
}

// text is what a person reads.
func (b *built) text() string {
	revision := cmp.Or(b.Revision, "not known")
	if b.At != "" {
		revision += " of " + b.At
	}
	if b.Modified {
		revision += ", with changes"
	}
	lines := []string{"waybill   " + b.Version, "Revision  " + revision, fmt.Sprintf("Go        %s, %s/%s", b.Go, b.OS, b.Arch)}
	if b.Tags != "" {
		lines = append(lines, "Tags      "+b.Tags)
	}
	return strings.Join(lines, "\n")
}

// version is what --version prints after the name, with the build's tags, which say what
// it was built without.
func version() string {
	b := thisBuild()
	about := fmt.Sprintf("%s, %s/%s", b.Go, b.OS, b.Arch)
	if b.Tags != "" {
		about += ", tags " + b.Tags
	}
	return fmt.Sprintf("%s (%s)", b.Version, about)
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
