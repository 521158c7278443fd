"""Live sources: cameras that send (RTSP, HLS) or publish stills, written as footage by `record`."""
