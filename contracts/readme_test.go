package contracts

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadmeHasTheCloseCodesOfTheCode(t *testing.T) {
	t.Parallel()
	words := map[string]Retry{"never": RetryNever, "backoff": RetryBackoff, "later": RetryLater, "token": RetryToken}
	told := map[CloseCode]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d{4}) \| .* \| (\w+) \|$`).FindAllStringSubmatch(readme(t), -1) {
		n, _ := strconv.Atoi(row[1])
		code := CloseCode(n)
		told[code] = true
		if want, known := words[row[2]]; !known || code.Retry() != want {
			t.Errorf("README says %s after %d, and the code %d", row[2], code, code.Retry())
		}
	}
	for _, code := range []CloseCode{
		CloseNormal, CloseGoingAway, CloseProtocol, CloseInvalidData, ClosePolicy, CloseTooBig, CloseInternal, CloseRestart,
		CloseOverload, CloseUnauthorized, CloseForbidden, CloseSlow, CloseReplaced, CloseRate,
	} {
		if !told[code] {
			t.Errorf("README does not say what to do after %d", code)
		}
	}
	for _, code := range []CloseCode{0, 1005, 1006, 1010, 1014, 1015, 3000, 4000, 4400} {
		if code.Retry() != RetryBackoff {
			t.Errorf("after %d, which means nothing here: %d", code, code.Retry())
		}
	}
}

func TestReadmeHasEveryErrorCode(t *testing.T) {
	t.Parallel()
	text := readme(t)
	for _, code := range []Code{
		CodeBadRequest, CodeUnauthorized, CodeForbidden, CodeOffline, CodeUnknown, CodeTooLarge, CodeRateLimited, CodeUnavailable,
		CodeTimeout, CodeInternal,
	} {
		if !strings.Contains(text, "\n| `"+string(code)+"` |") {
			t.Errorf("%s is missing", code)
		}
	}
}

func TestTheExamplesInReadmeAreOfTheProtocol(t *testing.T) {
	t.Parallel()
	var requests, events int
	for line := range strings.SplitSeq(readme(t), "\n") {
		line = strings.TrimPrefix(strings.TrimPrefix(line, "→ "), "← ")
		if !strings.HasPrefix(line, `{"`) {
			continue
		}
		if _, refused := DecodeRequest([]byte(line)); refused == nil {
			requests++
			continue
		}
		if _, refused := DecodeTicketFrame([]byte(line)); refused == nil {
			continue
		}
		e, err := DecodeEvent([]byte(line))
		if err != nil || e.Ready == nil && e.Msg == nil && e.OK == nil && e.Error == nil && e.Pong == nil && e.Moving == nil && e.Presence == nil && e.Ping == nil && e.Close == nil {
			if !strings.Contains(line, `"dave!"`) { // which shows what is refused
				t.Errorf("%s: %v", line, err)
			}
			continue
		}
		events++
	}
	if requests < 11 || events < 16 {
		t.Errorf("%d requests and %d events were found", requests, events)
	}
}

func TestReadmeHasTheLimitsOfTheCode(t *testing.T) {
	t.Parallel()
	text := readme(t)
	for _, want := range []string{
		"**64 KiB** (default; 1 KiB to 512 KiB can be set)", "1 to 128 bytes", "1 to 32 bytes", "1 to 8192 bytes", "9007199254740991",
		"At most 128 levels deep", "1,044,480 bytes", "Shards are 0 to 3", "(25 by default)", "5 s, renewed every 1.5 s",
		"for at most 30 s",
		"1 to 256 client ids", "at most 384 bytes", "good for 60 s", "60 s and 30 s", "text of at most 512 bytes", "at most 256 bytes", "is 1 to 100",
		"of at most 128 bytes", "It has at most 1024 bytes", "4 bytes, unsigned, big-endian",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if DefaultMaxFrame != 64<<10 || MaxMaxFrame != 512<<10 || MaxIDLength != 128 || MaxNodeIDLength != 32 || MaxTokenLength != 8192 ||
		MaxRequestID != 9007199254740991 || MaxDepth != 128 || MaxWatch != 256 || MaxBundle != 1_044_480 || Shards != 4 || DefaultHeartbeat.Seconds() != 25 ||
		LeaseTTL.Seconds() != 5 || LeaseRenewal.Seconds() != 1.5 || MaxTicketQuery != 384 ||
		TicketLife.Seconds() != 60 || TicketSkew.Seconds() != 30 || MaxLoad != 512 || MaxNodeURL != 256 || MaxWeight != 100 ||
		MaxNodeTCP != 128 || MaxTicketFrame != 1024 || FrameHeader != 4 || WatchTTL.Seconds() != 30 {
		t.Error("a limit was changed: change README.md too")
	}
}

func TestReadmeTellsOfEveryParameterOfATicket(t *testing.T) {
	t.Parallel()
	text := readme(t)
	for _, name := range ticketNames {
		if !strings.Contains(text, "\n| `"+string(name)+"` |") {
			t.Errorf("%c is missing", name)
		}
	}
	for _, want := range []string{"key id (8 characters)", "nonce (16 characters)", "HMAC (24 characters)", "first 18 bytes", "1 to 10 digits"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if ticketSecretID != 8 || ticketNonceIn != 16 || ticketMACIn != 24 || ticketMAC != 18 || ticketDigits != 10 {
		t.Error("the form of a ticket was changed: change README.md too")
	}
}
