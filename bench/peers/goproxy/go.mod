module ringress.example/goproxy

go 1.19
