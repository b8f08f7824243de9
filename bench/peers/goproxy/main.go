// Goproxy is the reverse proxy of Go's standard library, bare or inside http.TimeoutHandler: what Ringress replaces.
//
//	goproxy LISTEN ORIGIN TIMEOUT [timeouthandler]
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

// buffers spares ReverseProxy an allocation of 32 KiB per response, as its documentation advises.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte      { return b.pool.Get().([]byte) }
func (b *buffers) Put(bytes []byte) { b.pool.Put(bytes) }

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: goproxy LISTEN ORIGIN TIMEOUT [timeouthandler]")
	}
	timeout, err := time.ParseDuration(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	handler := proxy(os.Args[2])
	if len(os.Args) > 4 {
		// Buffers every response until it is complete; a timeout answers 503.
		handler = http.TimeoutHandler(handler, timeout, "timeout\n")
	} else {
		handler.(*httputil.ReverseProxy).Transport.(*http.Transport).ResponseHeaderTimeout = timeout
	}
	server := &http.Server{Addr: os.Args[1], Handler: handler, ErrorLog: log.New(discard{}, "", 0)}
	log.Fatal(server.ListenAndServe())
}

func proxy(origin string) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: origin})
	proxy.Transport = &http.Transport{
		// More idle connections than any scenario has requests at once; the default keeps 2.
		MaxIdleConns:        1024,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     75 * time.Second,
		DisableCompression:  true,
	}
	proxy.BufferPool = &buffers{sync.Pool{New: func() any { return make([]byte, 32<<10) }}}
	proxy.ErrorLog = log.New(discard{}, "", 0)
	return proxy
}

type discard struct{}

func (discard) Write(bytes []byte) (int, error) { return len(bytes), nil }
