package main

import (
	"io"
	"log/slog"
)

// logFlags say what is logged, and how.
type logFlags struct {
	LogLevel  string `name:"log-level" enum:"debug,info,warn,error" default:"${log_level}" placeholder:"${default}" help:"What is logged, on standard error: debug, info, warn or error."`
	LogFormat string `name:"log-format" enum:"auto,text,json" default:"auto" placeholder:"${default}" help:"How: text, json, or auto: text on a terminal and JSON otherwise."`
}

// logger returns what the flags ask for. kong has checked them.
func (f logFlags) logger(w io.Writer, terminal bool) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel))
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: readableTime}
	if f.LogFormat == "text" || f.LogFormat == "auto" && terminal {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// readableTime has JSON say how long something is as people do: 10s, not 10000000000.
func readableTime(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return a
}
