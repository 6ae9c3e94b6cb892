package floor

import (
	"context"
	"io"
)

// Serve is the part with a name. It reports whether there is one.
func Serve(ctx context.Context, name string, in io.Reader, out io.Writer) (bool, error) {
	serve := map[string]func(context.Context, io.Reader, io.Writer) error{
		writePart: serveWrite, readPart: serveRead, publishPart: servePublish, subscribePart: serveSubscribe,
		acceptPart: serveAccept, dialPart: serveDial,
	}[name]
	if serve == nil {
		return false, nil
	}
	return true, serve(ctx, in, out)
}
