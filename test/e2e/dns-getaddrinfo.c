/* What a name stands for by the C library that it is linked with: dns-getaddrinfo NAME. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int n, char **v) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = 0;
  int fault = getaddrinfo(v[1], 0, &hints, &all);
  if (fault) { printf("%s\n", gai_strerror(fault)); return 2; }
  for (struct addrinfo *a = all; a; a = a->ai_next) {
    char text[64];
    void *address = a->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)a->ai_addr)->sin_addr : (void *)&((struct sockaddr_in6 *)a->ai_addr)->sin6_addr;
    printf("%s\n", inet_ntop(a->ai_family, address, text, sizeof text));
  }
}
