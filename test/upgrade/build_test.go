package upgrade

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// revision is a program's.
type revision int

const (
	older revision = iota // version 1
	newer                 // this one
)

// build makes the program member of both revisions.
func build(t *testing.T) (programs [2]string) {
	t.Helper()
	dir := t.TempDir()
	tree := filepath.Join(dir, "waybill-1")
	unpack(t, filepath.Join("testdata", "waybill-1.tar.gz"), tree)
	const member = "test/upgrade/member"
	source, err := os.ReadFile(filepath.Join("member", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tree, member, "main.go"), source)
	for i, at := range []string{tree, filepath.Join("..", "..")} {
		programs[i] = filepath.Join(dir, []string{"older", "newer"}[i])
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", programs[i], "./"+member)
		cmd.Dir = at
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", programs[i], err, out)
		}
	}
	return programs
}

// unpack writes an archive's files below dir.
func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(packed); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if !filepath.IsLocal(header.Name) {
			t.Fatalf("%s has the file %q", archive, header.Name)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, header.Name), content)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
