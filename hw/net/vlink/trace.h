#include "trace/trace-hw_net_vlink.h"
