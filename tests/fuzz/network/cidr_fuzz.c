// Ranges and addresses as people write them. What is accepted has no bit set behind its prefix.
#include "network/addresses.h"
#include "network/service_objects.h"
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint32_t network, address;
    unsigned prefix;
    if (cidr_parse(str_n(data, n), &network, &prefix)) {
        BUG_ON(prefix > 32);
        BUG_ON(prefix < 32 && (network & (UINT32_MAX >> prefix)));
    }
    service_address_parse(str_n(data, n), &address);
    return 0;
}
