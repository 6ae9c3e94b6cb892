package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/services/presence"
)

// redisFlags say where Redis is. The secrets can be files: a command line can be read by others on the machine.
type redisFlags struct {
	Addrs        []string      `name:"redis-addr" default:"${redis_addr}" placeholder:"${default}" help:"host:port, or the path of a socket. Repeat it for the nodes of a Redis Cluster, or for all Sentinels."`
	Master       string        `name:"redis-sentinel-master" placeholder:"NAME" help:"Name of the master that the Sentinels at --redis-addr watch."`
	Cluster      bool          `name:"redis-cluster" help:"--redis-addr is a Redis Cluster, or some nodes of one."`
	Username     string        `name:"redis-username" placeholder:"NAME" help:"User to log in as. Not given: the default user."`
	Password     string        `name:"redis-password" placeholder:"SECRET" help:"Its password; better in BEELINE_REDIS_PASSWORD or in a file."`
	PasswordFile string        `name:"redis-password-file" placeholder:"FILE" help:"File with the password."`
	SentinelUser string        `name:"redis-sentinel-username" placeholder:"NAME" help:"User to log in to the Sentinels as."`
	SentinelPass string        `name:"redis-sentinel-password" placeholder:"SECRET" help:"Its password; better in BEELINE_REDIS_SENTINEL_PASSWORD or in a file."`
	SentinelFile string        `name:"redis-sentinel-password-file" placeholder:"FILE" help:"File with that password."`
	DB           int           `name:"redis-db" default:"0" placeholder:"${default}" help:"Number of the database."`
	Timeout      time.Duration `name:"redis-timeout" default:"${redis_timeout}" placeholder:"${default}" help:"For a connect, a write and a read; a call takes twice this at most."`
	Secure       bool          `name:"redis-tls" help:"Connect with TLS; so does each of the next three."`
	TLS          tlsFlags      `embed:"" prefix:"redis-"`
}

// config makes of the flags how Redis is reached.
func (f redisFlags) config() (presence.Redis, error) {
	none := presence.Redis{}
	password, err := secret("redis-password", f.Password, f.PasswordFile)
	if err != nil {
		return none, err
	}
	sentinelPassword, err := secret("redis-sentinel-password", f.SentinelPass, f.SentinelFile)
	if err != nil {
		return none, err
	}
	secure, err := f.TLS.config("redis-", f.Secure)
	if err != nil {
		return none, err
	}
	return presence.Redis{
		Addrs: f.Addrs, MasterName: f.Master, Cluster: f.Cluster,
		Username: f.Username, Password: password,
		SentinelUsername: f.SentinelUser, SentinelPassword: sentinelPassword,
		DB: f.DB, TLS: secure, Timeout: f.Timeout,
	}, nil
}

// maxSecretFile bounds a file with a secret, in bytes.
const maxSecretFile = 64 << 10

// secret returns what a flag says, or the contents of the file that its sister with -file names.
func secret(flag, given, path string) (string, error) {
	if path == "" {
		return given, nil
	}
	if given != "" {
		return "", usagef("--%s and --%s-file: give one of them", flag, flag)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", usagef("--%s-file: %w", flag, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err == nil && len(b) > maxSecretFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxSecretFile)
	}
	if err != nil {
		return "", usagef("--%s-file: %w", flag, err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if text == "" {
		return "", usagef("--%s-file: %s is empty", flag, path)
	}
	return text, nil
}
