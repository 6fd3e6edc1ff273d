// Starts a witness that is not ours: litewitness of filippo.io/torchwood, which keeps its key in an ssh-agent.
//
//	independent-witness LITEWITNESS DIR NAME ADDRESS
//
// It makes a key in DIR, once, serves it as an agent on DIR/agent, and starts the binary LITEWITNESS with its database
// DIR/litewitness.db, to listen on ADDRESS. It prints the witness's vkey. Which logs the witness follows is up to whoever
// started this: rows of its database. The witness ends when this does, and this ends when its standard input does.
package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"filippo.io/torchwood"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func main() {
	if len(os.Args) != 5 {
		fail(errors.New("independent-witness LITEWITNESS DIR NAME ADDRESS"))
	}
	binary, dir, name, address := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	key := ed25519.NewKeyFromSeed(must(seedOf(filepath.Join(dir, "seed"))))
	socket := filepath.Join(dir, "agent")
	serveAgent(socket, key)

	signer := must(torchwood.NewCosignatureSigner(name, key))
	public := must(ssh.NewPublicKey(key.Public()))
	witness := exec.Command(binary, "-name", name, "-listen", address, "-ssh-agent", socket,
		"-db", filepath.Join(dir, "litewitness.db"), "-key", ssh.FingerprintSHA256(public))
	witness.Stderr = os.Stderr
	if err := witness.Start(); err != nil {
		fail(err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = witness.Process.Kill()
	}()
	fmt.Println(signer.Verifier())
	_ = witness.Wait()
}

// seedOf reads the seed of the key, or makes one.
func seedOf(path string) ([]byte, error) {
	seed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		seed = make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(seed)
		err = os.WriteFile(path, seed, 0o600)
	}
	return seed, err
}

func serveAgent(socket string, key ed25519.PrivateKey) {
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		fail(err)
	}
	_ = os.Remove(socket)
	listener := must(net.Listen("unix", socket))
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, connection) }()
		}
	}()
}

func must[T any](value T, err error) T {
	if err != nil {
		fail(err)
	}
	return value
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
