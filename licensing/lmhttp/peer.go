package lmhttp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// peerPath is where other managers speak to this one. Who asks proves who he is
// by his signature, so no token is asked for.
const peerPath = "/peer/messages"

// peerMessage is a message between managers, or its answer.
type peerMessage struct {
	Message string `json:"message"` // base64
}

func (c *call) peer() error {
	message := c.body.binary("message")
	if err := c.body.fault(); err != nil {
		return err
	}
	answer, err := c.manager.AnswerPeer(c.ctx, message)
	if err != nil {
		return err
	}
	c.answer.write(http.StatusOK, peerMessage{base64.StdEncoding.EncodeToString(answer)})
	return nil
}

// Exchange carries messages to other managers over HTTP, for
// [licensing.Peers].Exchange. Addresses are those of their servers, such as
// http://10.0.0.5:3189; the API lies under [BasePath] there. Messages prove by
// themselves who they are from, so neither a proxy nor a certificate has to be
// trusted for that; what HTTPS adds is that nobody on the way can read along.
//
// A nil client is one without proxy that follows no redirects. The function is
// safe for concurrent use.
func Exchange(client *http.Client) func(ctx context.Context, address string, message []byte) ([]byte, error) {
	if client == nil {
		client = &http.Client{Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: time.Minute,
			IdleConnTimeout:       30 * time.Second,
			MaxIdleConnsPerHost:   8,
			ForceAttemptHTTP2:     true,
		}}
	}
	bare := *client
	bare.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	bare.Jar = nil
	return func(ctx context.Context, address string, message []byte) ([]byte, error) {
		target, err := peerURL(address)
		if err != nil {
			return nil, err
		}
		body, err := json.Marshal(peerMessage{base64.StdEncoding.EncodeToString(message)})
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", jsonType)
		res, err := bare.Do(req)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
		if err != nil {
			return nil, fmt.Errorf("its answer ends too early: %w", err)
		}
		if len(answer) > maxBody {
			return nil, errors.New("its answer is larger than 1 MiB")
		}
		return readPeerAnswer(res.StatusCode, answer)
	}
}

// readPeerAnswer reads what a stranger's server answers.
func readPeerAnswer(status int, body []byte) ([]byte, error) {
	if status != http.StatusOK {
		var failure struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if json.Unmarshal(body, &failure) != nil || failure.Error.Message == "" {
			return nil, fmt.Errorf("it answers with status %d", status)
		}
		return nil, fmt.Errorf("it answers with status %d: %q", status, clip(failure.Error.Message))
	}
	members, err := parseObject(body)
	if err != nil {
		return nil, fmt.Errorf("its answer is no message: %v", err) // no refusal of a request here
	}
	f := newFields(members)
	answer := f.binary("message")
	if err := f.fault(); err != nil {
		return nil, fmt.Errorf("its answer is no message: %v", err) // no refusal of a request here
	}
	return answer, nil
}

// peerURL is where messages for the manager at an address go.
func peerURL(address string) (string, error) {
	u, err := url.Parse(address)
	if err == nil {
		err = checkPeer(u)
	}
	if err != nil {
		return "", fmt.Errorf("%q is no address of a manager, want one such as http://10.0.0.5:3189: %w", address, err)
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + BasePath + peerPath
	return u.String(), nil
}

func checkPeer(u *url.URL) error {
	port, err := strconv.ParseUint(cmp.Or(u.Port(), "80"), 10, 16)
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("it does not begin with http:// or https://")
	case u.Hostname() == "":
		return errors.New("it names no host")
	case err != nil, port == 0:
		return errors.New("its port is out of range")
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		return errors.New("there is more in it than scheme, host, port and path")
	case strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), BasePath):
		return errors.New(BasePath + " is added to it")
	}
	return nil
}

// CheckAddress says why an address cannot be one of a manager for [Exchange], or
// nil.
func CheckAddress(address string) error {
	_, err := peerURL(address)
	return err
}
