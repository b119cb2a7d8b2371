package services

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/waybill-go/waybill/internal/test/testserver"
)

func TestATortureInWhichNoFaultStruckFails(t *testing.T) {
	testserver.Program(t, "bash", "nats")
	for _, x := range []struct {
		name, report, flags string
		status              string // of waybill
		fails, says         bool
	}{
		{"faults struck", `{"sent":9,"faults":{"clock":1,"kill":3},"ok":true}`, "", "0", false, false},
		{"none struck", `{"sent":9,"faults":{},"ok":true}`, "", "0", true, true},
		{"none struck, and the report names some", `{"sent":9,"faults":{"kill":0},"ok":true}`, "", "0", true, true},
		{"a clock was wrong and a consumer away, as from the start", `{"sent":9,"faults":{"absent":1,"clock":12},"ok":true}`, "", "0", true, true},
		{"none struck, and none was chosen", `{"sent":9,"faults":{},"ok":true}`, "--faults none", "0", false, false},
		{"a promise was broken", `{"sent":9,"faults":{"kill":3},"ok":false}`, "", "1", true, false},
		{"there is no report", ``, "", "1", true, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(name, text string) {
				t.Helper()
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			script, err := os.ReadFile("../../scripts/torture")
			if err != nil {
				t.Fatal(err)
			}
			write("scripts/torture", string(script))
			write("scripts/services", "#!/bin/sh\n")
			write("waybill", "#!/bin/sh\necho '"+x.report+"'\nexit "+x.status+"\n")
			write("bin/unshare", "#!/bin/sh\nexit 1\n") // nothing may be mounted
			write("bin/go", "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\ncp '"+dir+"/waybill' \"$2\"\n")
			cmd := exec.Command(filepath.Join(dir, "scripts/torture"), "sqlite-embedded")
			cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "EACH=", "RACE=", "TAGS=", "FLAGS="+x.flags)
			said, err := cmd.CombinedOutput()
			if (err != nil) != x.fails {
				t.Errorf("got %v, want it to fail: %v\n%s", err, x.fails, said)
			}
			if says := strings.Contains(string(said), "NO FAULT STRUCK"); says != x.says {
				t.Errorf("it said\n%swant it to say that no fault struck: %v", said, x.says)
			}
		})
	}
}
